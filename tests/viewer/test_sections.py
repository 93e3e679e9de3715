"""The summary: what is shown of which runs, and that what a run has nothing of is left out."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drp_ray.evaluation.published import published_rows
from drp_ray.storage.folder import LocalFolder
from drp_ray.viewer.findings import SideBySide, of_the_same_targets
from drp_ray.viewer.html import element, join
from drp_ray.viewer.plots.svg import Scale
from drp_ray.viewer.report import ReportOptions, write_report
from drp_ray.viewer.sections import render_head, render_summary
from drp_ray.viewer.sections.base import Report
from drp_ray.viewer.sections.scores import published_names
from tests.viewer.made_run import MadeRun
from tests.viewer.pages import group_of


def report_of(path: Path, *runs: dict, sizes: tuple[int, ...] = ()) -> Report:
    """The report of made-up runs; of `sizes`, each so many of them together are one result."""
    options = {"rows_per_part": 100, "history": 2}
    folders = [
        MadeRun(LocalFolder(path), name=f"run{number}", **{**options, **run}).write() for number, run in enumerate(runs)
    ]
    remaining = iter(folders)
    groups = [group_of(*islice(remaining, size)) for size in sizes or [1] * len(runs)]
    return write_report(groups, path / "report.html", ReportOptions(sample=100))


def section(report: Report, title: str) -> str:
    """A section as text: a row of a table on a line, with its cells apart."""
    html = render_summary(report).partition(f">{title}</h3>")[2].partition("</section>")[0]
    return re.sub(r"<[^>]+>", "", re.sub(r"</t[hd]>", " | ", html.replace("</tr>", "\n")))


def row(report: Report, title: str, name: str) -> list[str]:
    """The cells of the first row of a section that begins so."""
    line = next(line for line in section(report, title).splitlines() if line.strip().startswith(f"{name} |"))
    return [cell.strip() for cell in line.split("|")][1:-1]


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
    assert curve.count("95% interval") == 8  # Each of four points says it to the eye and to the ear.


def test_what_compare_finds_is_shown_for_every_measure(tmp_path):
    report = report_of(tmp_path, {"n_users": 30, "judged": {"judge": 7}}, {"n_users": 30, "judged": {"judge": 3}})
    compared = report.findings.side_by_side[0].compared
    assert compared["draws"] == 2000 and "2,000 draws of users" in section(report, "User by user")
    for name, title in (("rouge1", "ROUGE-1"), ("judge", "Judge"), ("bleu", "BLEU")):
        [pair] = compared["metrics"][name]["pairs"]
        cells = row(report, "User by user", title)
        low, high = pair["ci95"]
        digits = 2 if name == "bleu" else 4
        assert cells[:2] == [f"{pair['difference']:+.{digits}f}", f"{low:+.{digits}f} to {high:+.{digits}f}"]
    assert 'class="change gain">+' in render_summary(report)


def test_a_gain_that_may_be_chance_or_is_no_merit_has_no_colour(tmp_path):
    same = report_of(tmp_path, {"n_users": 30}, {"n_users": 30})
    assert "change gain" not in render_summary(same) and "change loss" not in render_summary(same)
    assert "Copy rate no merit" in section(same, "User by user")


def test_what_was_computed_in_several_ways_has_no_gains(tmp_path):
    report = report_of(tmp_path, {"n_users": 30}, {"n_users": 30})
    before = section(report, "User by user").count("users gain")
    assert before == len(report.merits) > 1
    report.findings.side_by_side[0].compared["metrics"]["rouge1"]["note"] = "computed in several ways"
    assert section(report, "User by user").count("users gain") == before - 1


def test_results_without_common_users_say_why_they_are_not_compared(tmp_path):
    everyone = {f"user-{number:05d}": "no" for number in range(12)}
    report = report_of(tmp_path, {}, {"failed": everyone})
    assert report.findings.side_by_side[0].compared is None
    assert "The results were not compared: no user is ok in all runs" in section(report, "User by user")


def test_protocols_that_differ_are_marked_and_compared(tmp_path):
    warm = {"settings": {"protocol": "drp", "sampling": {"temperature": 0.8}}}
    report = report_of(tmp_path, {}, warm)
    words = "no fair comparison: run0 (no protocol), run1 (drp, 1 of 2 executions)"
    assert words in section(report, "User by user") and report.findings.side_by_side[0].compared is not None
    assert "no fair comparison" not in section(report_of(tmp_path / "b", {}, {}), "User by user")


def test_executions_are_one_result_with_mean_and_spread(tmp_path):
    runs = [{"settings": {"sampling": {"temperature": value}}, "skill": value / 10} for value in (0.2, 0.8)]
    report = report_of(tmp_path, *runs, {"method": "rag"}, sizes=(2, 1))
    numbers = [facts.run.metrics["metrics"]["rouge1"] for facts in report.runs[:2]]
    first, second = row(report, "Scores", "ROUGE-1")[:2]
    assert first.startswith(f"{fmean(numbers):.4f} ± {stdev(numbers):.4f}") and "±" not in second
    assert "The 2 executions one by one" in section(report, "Scores")
    assert row(report, "Scores", "run1")[0].startswith(f"{numbers[1]:.4f}")
    assert report.findings.side_by_side[0].compared["runs"] == ["run0", "run2"]
    assert report.title == "Report of 2 results: run0, run2"


WARM_AND_JUDGED = [
    {"n_users": 30, "has_controls": True, "judged": {"judge": mean}, "settings": {"sampling": {"temperature": warmth}}}
    for warmth, mean in ((0.2, 7), (0.8, 3))
]


@pytest.mark.parametrize("sizes", [(2,), (1, 1)])
def test_judges_of_several_temperatures_have_no_number_in_common(tmp_path, sizes):
    report = report_of(tmp_path, *WARM_AND_JUDGED, sizes=sizes)
    summary, is_one = render_summary(report), sizes == (2,)
    assert "Judge by temperature" not in summary and "ROUGE-1 by temperature" in summary
    assert ("Judge: the executions of these results compute it in several ways" in section(report, "Scores")) == is_one
    means = [facts.run.metrics["judges"]["judge"]["value"] for facts in report.runs]
    if is_one:
        assert row(report, "Scores", "Judge")[0] == "missing" and "judge" not in report.findings.intervals[0]
        assert "Judge |" not in section(report, "Controls")
        one_by_one = section(report, "Scores").partition("The 2 executions one by one")[2]
        assert all(f"{mean:.4f}" in one_by_one for mean in means)
    else:
        assert [cell[:6] for cell in row(report, "Scores", "Judge")[:2]] == [f"{mean:.4f}" for mean in means]


def test_a_judge_of_one_temperature_is_averaged_and_drawn_by_temperature(tmp_path):
    warmths = [run["settings"]["sampling"]["temperature"] for run in WARM_AND_JUDGED]
    sampling = [{"sampling": {"temperature": warmth, "judge": {"temperature": 0.8}}} for warmth in warmths]
    runs = [{**run, "settings": settings} for run, settings in zip(WARM_AND_JUDGED, sampling, strict=True)]
    report = report_of(tmp_path, *runs, sizes=(2,))
    mean = fmean(facts.run.metrics["judges"]["judge"]["value"] for facts in report.runs)
    assert row(report, "Scores", "Judge")[0].startswith(f"{mean:.4f} ± ")
    assert "Judge by temperature" in render_summary(report) and "in several ways" not in section(report, "Scores")


def test_intervals_of_one_run_alone_are_shown(tmp_path):
    report = report_of(tmp_path, {})
    low, high = report.findings.intervals[0]["rouge1"]
    value = report.results[0].numbers["rouge1"].value
    assert low < value < high
    assert row(report, "Scores", "ROUGE-1") == [f"{value:.4f}{low:.4f} to {high:.4f}"]
    assert f"95% interval {low:.4g} to {high:.4g}" in render_summary(report)


def test_floor_value_ceiling_and_the_way_between_are_shown_of_every_measure(tmp_path):
    report = report_of(
        tmp_path, {"n_users": 30, "has_controls": True, "judged": {"judge": 6}, "failed": {"user-00002": "no"}}
    )
    metrics = report.runs[0].run.metrics
    floor, ceiling = (metrics["controls"][name] for name in ("other_review", "reference"))
    for name, title in (("rouge1", "ROUGE-1"), ("author_words", "Author by function words")):
        value = metrics["metrics"].get(name, metrics["author_identification"]["metrics"].get(name))
        cells = row(report, "Controls", title)
        ends = floor["metrics"][name], ceiling["metrics"][name]
        assert (cells[0], cells[2], cells[4]) == (f"{ends[0]:.4f}", f"{value:.4f}", f"{ends[1]:.4f}")
        assert cells[5] == f"{(floor['prediction'][name] - ends[0]) / (ends[1] - ends[0]):.0%}"
        assert cells[6] == f"{floor['n'][name]}" == "29"
    assert row(report, "Controls", "Judge")[2] == f"{metrics['judges']['judge']['value']:.4f}"
    told = metrics["author_identification"]["metrics"]["author_characters"]
    assert row(report, "Controls", "run0")[:2] == ["20.0%", f"{told:.1%}"]
    assert row(report, "Controls", "run0")[-2] == f"{metrics['metrics']['copy_rate']:.4f}"
    assert f"Floor: another user&#x27;s review: {floor['metrics']['rouge1']:.4g}" in render_summary(report)


def test_judges_that_saw_no_control_are_named_and_others_are_not(tmp_path):
    report = report_of(tmp_path, {"n_users": 30, "has_controls": True, "judged": {"judge": 6, "gpt": 5}})
    assert "Not asked about controls: Judge, Judge gpt." in section(report, "Controls")
    for control in report.runs[0].run.metrics["controls"].values():
        for kind, value in (("n", 30), ("metrics", 0.5), ("prediction", 0.6)):
            control[kind]["judge"] = value
    assert "Not asked about controls: Judge gpt." in section(report, "Controls")
    assert row(report, "Controls", "Judge")[0] == "0.5000"


def test_a_run_without_controls_and_judges_says_nothing_of_them(tmp_path):
    summary = render_summary(report_of(tmp_path, {}))
    assert "Floor" not in summary and "Judge" not in summary and "Controls" not in summary


PUBLISHED = {
    **{"paper": "A paper", "source": "https://example.org/paper", "protocol": "drp", "dataset": "books"},
    **{"split": "test", "method": "drp", "models": {}, "metrics": {"rouge1": 0.3386}, "judges": {"S-72B": 0.61}},
}


def test_a_published_row_stands_beside_the_whole_protocol_and_never_beside_a_part_of_it(tmp_path):
    runs = [
        {"settings": {"protocol": "drp", "sampling": {"temperature": value}}, "published": PUBLISHED}
        for value in (0, 0.8)
    ]
    whole = report_of(tmp_path, *runs, sizes=(2,))
    assert row(whole, "Scores", "ROUGE-1")[-1] == "0.3386" and row(whole, "Scores", "S-72B")[-1] == "0.6100"
    assert "published, drp: 0.3386" in render_summary(whole) and "A paper" in section(whole, "Scores")
    assert "published" not in render_summary(report_of(tmp_path / "b", *runs)).lower()
    other = [{**run, "published": {**PUBLISHED, "protocol": "dpl"}} for run in runs]
    assert "published" not in render_summary(report_of(tmp_path / "c", *other, sizes=(2,))).lower()


def test_the_published_value_of_each_dataset_stands_in_the_row_of_its_result_and_under_its_name(tmp_path):
    values = {"books": 0.3386, "cds": 0.3120}
    runs = [
        {
            "settings": {"dataset": f"data/{name}/test", "protocol": "drp", "sampling": {"temperature": warmth}},
            "published": {**PUBLISHED, "dataset": name, "metrics": {"rouge1": value}},
        }
        for name, value in values.items()
        for warmth in (0, 0.8)
    ]
    report = report_of(tmp_path, *runs, sizes=(2, 2))
    assert row(report, "Scores", "ROUGE-1")[-2:] == ["0.3386", "0.3120"]
    head = section(report, "Scores").splitlines()
    assert any("Published: drp, books" in line and "Published: drp, cds" in line for line in head)
    plot = render_summary(report).partition("<figcaption>ROUGE-1 ")[2].partition("</figure>")[0]
    rows_of = plot.split('class="name"')[1:]
    found = [re.findall(r'aria-label="(published, [^"]*)"', each) for each in rows_of]
    assert found == [["published, drp, books: 0.3386"], ["published, drp, cds: 0.312"]]


ROWS = [row.as_json() for row in published_rows()]


@given(st.lists(st.sampled_from(ROWS), min_size=1, max_size=8, unique_by=ROWS.index))
def test_published_rows_have_different_names_that_say_where_they_differ(rows):
    names = published_names(rows)
    assert len(set(names)) == len(rows)
    assert all(name.split(", ")[0] == row["method"] for name, row in zip(names, rows, strict=True))
    are_of_several = len({row["dataset"] for row in rows}) > 1
    assert all((row["dataset"] in name.split(", ")) == are_of_several for name, row in zip(names, rows, strict=True))


def test_halves_have_gains_with_intervals_where_reviews_were_embedded(tmp_path):
    report = report_of(tmp_path, {"n_users": 40, "has_embeddings": True, "skill": 0.2}, {"n_users": 40})
    [pair] = report.findings.side_by_side[0].uniqueness["pairs"]
    gain = pair["measures"]["rouge1"]["more_unique"]
    words = f"{gain['gain']:+.4f}, {gain['n']} users\n95% interval {gain['ci95'][0]:.4g} to {gain['ci95'][1]:.4g}"
    assert words in render_summary(report)
    assert "40 users have embeddings (of run0), 0 have none" in section(report, "Unique users")
    assert "Unique users" not in headings(report_of(tmp_path / "b", {}, {}))
    alone = report_of(tmp_path / "c", {"n_users": 40, "has_embeddings": True})
    assert "More unique half" in render_summary(alone) and "no gain" not in render_summary(alone)


def of_datasets(path: Path, names: Sequence[str]) -> Report:
    """The report of two runs for each dataset, whose users have the same ids everywhere and a target in each."""
    groups = []
    for name in names:
        texts = {f"user-{number:05d}": f"what {name} has of {number} is another text" for number in range(30)}
        shared = {"n_users": 30, "rows_per_part": 100, "history": 2, "has_embeddings": True, "texts": texts}
        for skill in (0.1, 0):
            run = MadeRun(LocalFolder(path / name), f"{name}-{skill}", skill=skill, **shared).write()
            groups.append(group_of(run))
    return write_report(groups, path / f"{len(names)}.html", ReportOptions(sample=100))


def test_results_of_several_datasets_are_compared_within_each_as_if_it_were_alone(tmp_path):
    both = of_datasets(tmp_path, ["books", "cds"])
    assert [each.places for each in both.findings.side_by_side] == [(0, 1), (2, 3)]
    for number, name in enumerate(("books", "cds")):
        [alone] = of_datasets(tmp_path, [name]).findings.side_by_side
        assert replace(both.findings.side_by_side[number], places=(0, 1)) == alone
    for title in ("User by user", "Unique users"):
        assert re.findall(r"What ([a-z]*)-0.1 gains over ([a-z]*)-0", section(both, title)) == [
            ("books", "books"),
            ("cds", "cds"),
        ]
    assert "books-0.1, books-0Over the 30 users" in section(both, "User by user")


def test_results_that_none_shares_targets_with_are_paired_with_none(tmp_path):
    report = of_datasets(tmp_path, ["books", "cds"])
    alone = [SideBySide((place,)) for place in range(4)]
    report = replace(report, findings=replace(report.findings, side_by_side=alone))
    text = section(report, "User by user")
    assert "gain" not in text and "no other result was to write the same texts" in text and "books-0.1, books-0" in text


TARGETS = st.lists(st.dictionaries(st.sampled_from("abcd"), st.sampled_from([b"1", b"2"])), max_size=7)


@given(TARGETS)
def test_any_two_results_side_by_side_share_users_and_all_their_targets(targets):
    sets = of_the_same_targets(targets)
    assert sorted(place for places in sets for place in places) == list(range(len(targets)))
    for places in sets:
        assert list(places) == sorted(places)
        for one, other in combinations([targets[place] for place in places], 2):
            shared = one.keys() & other.keys()
            assert shared and all(one[user] == other[user] for user in shared)


@given(st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=2), min_size=1), st.integers(1, 5))
def test_results_of_one_dataset_are_all_side_by_side(targets, n):
    assert of_the_same_targets([targets] * n) == [tuple(range(n))]


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
