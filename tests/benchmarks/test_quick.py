"""The guard against regressions tells what fell, and nothing else."""

import json
import sys

import pytest

from benchmarks import quick
from benchmarks.record import read_figures, write_result


def recorded(folder, **ratios):
    folder.mkdir(exist_ok=True)
    (folder / "quick.json").write_text(json.dumps({"figures": {"ratios": ratios}}))


@pytest.mark.parametrize(
    ("measured", "falls"),
    [
        ({"calls": 1.0, "cached": 0.5}, []),
        ({"calls": 0.91, "cached": 0.46}, []),
        ({"calls": 0.89, "cached": 0.5}, ["calls"]),
        ({"calls": 3.0}, ["cached"]),
    ],
    ids=["equal", "within a tenth", "fell", "no longer measured"],
)
def test_a_fall_of_more_than_a_tenth_is_told(measured, falls):
    lines, found = quick.compared(measured, {"calls": 1.0, "cached": 0.5})
    assert found == falls and len(lines) == 2


def test_the_median_counts_and_a_fall_is_an_exit_code(tmp_path, monkeypatch, capsys):
    recorded(tmp_path, calls=1.0)
    monkeypatch.setattr(sys, "argv", ["quick", "--results", str(tmp_path)])
    monkeypatch.setattr(quick, "measured", lambda folder, repeats: {"calls": [0.1, 1.0, 5.0]})
    quick.main()
    monkeypatch.setattr(quick, "measured", lambda folder, repeats: {"calls": [0.1, 0.8, 5.0]})
    with pytest.raises(SystemExit, match="fell by more than 10%: calls"):
        quick.main()


def test_without_recorded_ratios_nothing_is_measured_and_the_way_to_record_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["quick", "--results", str(tmp_path)])
    with pytest.raises(SystemExit, match="make bench-quick RECORD=1"):
        quick.main()


def test_what_is_recorded_is_what_is_compared_next(tmp_path, monkeypatch):
    monkeypatch.setattr(quick, "measured", lambda folder, repeats: {"calls": [2.0, 1.0, 3.0]})
    monkeypatch.setattr(sys, "argv", ["quick", "--record", "--results", str(tmp_path)])
    quick.main()
    assert read_figures("quick", tmp_path)["ratios"] == {"calls": 2.0}


def test_a_result_says_with_what_it_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmarks/one.py", "/home/somebody/reviews", "--repeats", "1"])
    write_result(tmp_path / "one.json", {"ratio": 1.5})
    record = json.loads((tmp_path / "one.json").read_text())
    assert record["figures"] == {"ratio": 1.5} == read_figures("one", tmp_path)
    assert record["machine"]["cpus"] and record["machine"]["python"] and "ray" in record["versions"]
    assert record["measured"].count("-") == 2 and record["command"] == "python -m benchmarks.one reviews --repeats 1"
