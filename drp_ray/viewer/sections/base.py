"""A section of the report: a title, and a pure function from what the runs have to HTML."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from drp_ray.viewer.choosing import Chosen
from drp_ray.viewer.facts import RunFacts
from drp_ray.viewer.findings import Findings
from drp_ray.viewer.html import Child, Html, element
from drp_ray.viewer.measures import better_of, in_order, titles_of
from drp_ray.viewer.results import Result


@dataclass(frozen=True)
class Report:
    """All that a report is made from: the runs, the results that they are executions of, and what was found of them."""

    runs: tuple[RunFacts, ...]
    chosen: Chosen
    has_texts: bool
    results: tuple[Result, ...]
    findings: Findings

    @property
    def title(self) -> str:
        """The results' names."""
        names = [result.name for result in self.results]
        return f"Report of {names[0]}" if len(names) == 1 else f"Report of {len(names)} results: {', '.join(names)}"

    @cached_property
    def measures(self) -> list[str]:
        """Every measure that a result has a number of."""
        return in_order(name for result in self.results for name in result.numbers)

    @property
    def merits(self) -> list[str]:
        """Those in which one text can be better than another."""
        return [name for name in self.measures if better_of(name) != "none"]

    @cached_property
    def _titles(self) -> dict[str, str]:
        return titles_of(facts.run for facts in self.runs)

    def title_of(self, measure: str) -> str:
        """A measure's title; its name where no run here can compute it."""
        return self._titles.get(measure, measure)

    def titled(self, measure: str) -> Child:
        """The title; with a word where the measure is no merit."""
        title = self.title_of(measure)
        return title if better_of(measure) != "none" else [title, " ", element("span", "no merit", class_="quiet")]


@dataclass(frozen=True)
class Section:
    """A part of the summary. `make` returns None where the runs have nothing of it: then it is left out."""

    key: str
    title: str
    make: Callable[[Report], Child]

    def render(self, report: Report) -> Html | None:
        """The section, or nothing."""
        content = self.make(report)
        if content is None:
            return None
        heading = f"heading-{self.key}"
        return element(
            "section", element("h3", self.title, id=heading), content, class_="part", aria_labelledby=heading
        )


SHOWN = 3
"""Of many plots of one kind, so many are shown at once."""


def shown_and_folded(plots: Sequence[Html], what: str) -> list[Html]:
    """The first plots, and the others behind a line that opens them."""
    first, rest = list(plots[:SHOWN]), plots[SHOWN:]
    return [*first, element("details", element("summary", f"{len(rest)} {what}"), rest)] if rest else first


def run_label(report: Report, place: int) -> Html:
    """A run's name in its colour."""
    return element("span", report.runs[place].run.name, class_=f"run run{place % 8}")


def result_label(result: Result) -> Html:
    """A result's name in its colour."""
    return element("span", result.name, class_=f"run run{result.colour % 8}")


def with_line_below(text: Child, below: str) -> Html:
    """A text with a smaller line below it."""
    return element("span", text, element("span", below, class_="below"))
