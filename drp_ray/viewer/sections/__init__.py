"""The summary of a report: its sections in their order. A new one is a function, a `Section` and its line here."""

from drp_ray.inputs.dataset import dataset_name
from drp_ray.viewer.html import Html, element, join
from drp_ray.viewer.sections.base import Report, Section
from drp_ray.viewer.sections.controls import CONTROLS_SECTION
from drp_ray.viewer.sections.curves import CURVES_SECTION
from drp_ray.viewer.sections.differences import DIFFERENCES
from drp_ray.viewer.sections.rows import BY_METHOD, COST, COVERAGE, ERRORS, LEAKS_SECTION, LENGTHS, SIGNATURES
from drp_ray.viewer.sections.scores import SCORES
from drp_ray.viewer.sections.settings import CONFIGURATION, MAKING
from drp_ray.viewer.sections.uniqueness import UNIQUENESS

__all__ = ["Report", "Section", "render_head", "render_summary"]

SECTIONS: tuple[Section, ...] = (
    SCORES,
    DIFFERENCES,
    CONTROLS_SECTION,
    UNIQUENESS,
    CURVES_SECTION,
    BY_METHOD,
    LENGTHS,
    COVERAGE,
    ERRORS,
    LEAKS_SECTION,
    COST,
    CONFIGURATION,
    SIGNATURES,
    MAKING,
)


def render_head(report: Report) -> Html:
    """What the report is about: runs, methods, dataset, users, dates and protocol."""
    runs = [facts.run for facts in report.runs]
    datasets = dict.fromkeys(dataset_name(run.settings["dataset"]) for run in runs)
    methods = dict.fromkeys(str(run.metrics["method"]) for run in runs)
    protocols = dict.fromkeys(result.protocol for result in report.results if result.protocol)
    began = sorted(
        str(entry["since"])[:10] for run in runs for entry in run.record.get("history", []) if entry["since"]
    )
    said = [
        f"Method {', '.join(methods)}",
        f"dataset {', '.join(datasets)}",
        f"{report.chosen.of:,} users",
        f"protocol {'; '.join(protocols)}" if protocols else None,
        f"made {began[0]}" if began else None,
    ]
    line = " · ".join(part for part in said if part)
    return element("div", element("h1", report.title), element("p", line))


def render_summary(report: Report) -> Html:
    """All sections that the runs have something for."""
    texts = None if report.has_texts else element("p", "Texts were left out of this report (--no-text).", class_="note")
    shown = [section.render(report) for section in SECTIONS]
    return join(
        [element("h2", "Summary", class_="lead"), element("p", report.chosen.how, class_="quiet"), texts, shown]
    )
