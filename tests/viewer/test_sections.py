"""The summary: what is shown of which runs, and that what a run has nothing of is left out."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.job.finished import open_run
from drp_ray.job.result import METRICS_FILE
from drp_ray.storage.folder import LocalFolder
from drp_ray.viewer.choosing import choose
from drp_ray.viewer.facts import read_facts
from drp_ray.viewer.html import element, join
from drp_ray.viewer.plots.svg import Scale
from drp_ray.viewer.sections import render_head, render_summary
from drp_ray.viewer.sections.base import Report
from tests.viewer.made_run import MadeRun


def report_of(path: Path, *runs: dict) -> Report:
    folders = [MadeRun(LocalFolder(path), name=f"run{number}", **run).write() for number, run in enumerate(runs)]
    facts = tuple(read_facts(open_run(folder), True) for folder in folders)
    return Report(facts, choose([each.users for each in facts], 100, 0), True)


def headings(report: Report) -> list[str]:
    return re.findall(r"<h3[^>]*>(.*?)</h3>", render_summary(report))


def test_what_a_run_has_nothing_of_is_left_out(tmp_path):
    one = headings(report_of(tmp_path, {}))
    assert "Scores" in one and "User by user" not in one and "Scores by setting" not in one
    assert "By the method that ran" not in one


def test_runs_of_several_values_are_drawn_as_a_curve(tmp_path):
    warm = [{"settings": {"sampling": {"temperature": value}}, "skill": value / 10} for value in (0.2, 0.6, 1.0)]
    report = report_of(tmp_path, *warm)
    summary = render_summary(report)
    assert "Scores by setting" in headings(report)
    curve = summary.partition("ROUGE-1 by temperature")[2].partition("</svg>")[0]
    assert curve.count("<circle") == 3 and curve.count("<polyline") == 1
    assert "sampling.temperature" in summary.partition("What differs")[2].partition("</table>")[0]


def test_runs_that_differ_in_more_than_the_setting_are_on_lines_of_their_own(tmp_path):
    runs = [
        {"settings": {"retrieval": {"n": n}}, "method": method, "skill": n / 100}
        for method in ("drp", "rag")
        for n in (4, 8)
    ]
    summary = render_summary(report_of(tmp_path, *runs))
    curve = summary.partition("ROUGE-1 by N")[2].partition("</svg>")[0]
    assert curve.count("<circle") == 4 and curve.count("<polyline") == 2


def test_what_compare_found_is_shown_with_intervals(tmp_path):
    report = report_of(tmp_path, {}, {"skill": 0.1})
    pair = {"a": "run0", "b": "run1", "difference": -0.1, "ci95": [-0.15, -0.05], "p_permutation": 0.0012}
    pair |= {"p_t": None, "p_holm": 0.0048, "smallest_effect": 0.021}
    runs = {"run0": {"mean": 0.3, "ci95": [0.28, 0.32]}, "run1": {"mean": 0.4}}
    compared = {"runs": ["run0", "run1"], "users": {"n": 12}, "metrics": {"rouge1": {"runs": runs, "pairs": [pair]}}}
    summary = render_summary(replace(report, compared=compared))
    assert "Over the 12 users who have a text in every run." in summary
    for words in ("run0 − run1", "-0.1000", "-0.1500 to -0.0500", "0.0012", "missing", "0.0048", "0.0210"):
        assert words in summary
    assert "95% interval 0.28 to 0.32" in summary


def test_controls_and_judges_are_shown_where_they_are(tmp_path):
    report = report_of(tmp_path, {})
    [facts] = report.runs
    controls = {"other_review": {"rouge1": 0.11}, "reference": {"rouge1": 1.0}, "n": 12}
    judges = {"judge": {"value": 0.625, "n": 11, "unreadable": 1}}
    metrics = {**facts.run.metrics, "controls": controls, "judges": judges}
    facts.run.folder.write(METRICS_FILE, json.dumps(metrics).encode())
    more = replace(report, runs=(replace(facts, run=open_run(facts.run.folder)),))
    summary = render_summary(more)
    assert all(words in summary for words in ("floor: another user", "ceiling: the real review", "0.6250"))
    assert "floor" not in render_summary(report)


def test_errors_are_counted_by_reason(tmp_path):
    failed = {"user-00002": "refused by the engine: a", "user-00003": "refused by the engine: a"}
    report = report_of(tmp_path, {"failed": failed}, {})
    assert dict(report.runs[0].errors) == {("predictions", "refused by the engine: a"): 2}
    errors = render_summary(report).partition(">Errors<")[2].partition("</table>")[0]
    assert re.search(r"refused by the engine: a</td><td[^>]*>2</td><td[^>]*>0</td>", errors)


def test_the_head_names_runs_methods_dataset_users_and_date(tmp_path):
    head = render_head(report_of(tmp_path, {}, {"method": "rag"}))
    assert "run0, run1" in head
    assert "Method drp, rag · dataset made · 12 users · made 2026-01-02" in head


def test_settings_say_how_to_make_a_run_again(tmp_path):
    summary = render_summary(report_of(tmp_path, {"settings": {"selection": {"k": 7}}}))
    assert "drp-ray run run0.yaml" in summary and "k: 7" in summary and "ray==2.60.0" in summary


@given(st.text(), st.text())
def test_text_in_an_element_stays_text(text, attribute):
    made = element("p", text, ["more", text], title=attribute)
    assert made.count("<") == 2 and made.count(">") == 2
    assert '"' not in made.partition('title="')[2].partition('">')[0]
    assert join([made]) == made


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6), st.booleans())
def test_ticks_are_few_and_inside(low, span, is_logarithmic):
    scale = Scale(low, low + span, 0, 300, is_logarithmic)
    ticks = scale.ticks()
    assert len(ticks) <= 12 and ticks == sorted(set(ticks))
    assert all(-0.5 <= scale(tick) <= 300.5 for tick in ticks)


@pytest.mark.parametrize("n", [4, 60])
def test_no_score_at_all_is_no_failure(tmp_path, n):
    report = report_of(tmp_path, {"n_users": n, "failed": {f"user-{number:05d}": "no" for number in range(n)}})
    assert "missing" in render_summary(report)
