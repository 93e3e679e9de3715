"""A section of the report: a title, and a pure function from what the runs have to HTML."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drp_ray.viewer.choosing import Chosen
from drp_ray.viewer.facts import RunFacts
from drp_ray.viewer.html import Child, Html, element
from drp_ray.viewer.measures import in_order


@dataclass(frozen=True)
class Report:
    """All that a report is made from. `compared` is what `drp-ray compare` writes of the same runs, if it was made."""

    runs: tuple[RunFacts, ...]
    chosen: Chosen
    has_texts: bool
    compared: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """The runs' names."""
        names = [facts.run.name for facts in self.runs]
        return f"Report of {names[0]}" if len(names) == 1 else f"Report of {len(names)} runs: {', '.join(names)}"

    @property
    def measures(self) -> list[str]:
        """Every measure that a run has."""
        return in_order(name for facts in self.runs for name in facts.run.metrics["metrics"])


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
