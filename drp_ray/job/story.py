"""One user's way through a finished job, for a person to read: compared, told apart, summarised, written for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from drp_ray.llm.replies import Feature, parse_features
from drp_ray.schema import Row

SHOWN_CHARACTERS = 300
"""Of a text that only illustrates, so many are shown."""


@dataclass(frozen=True)
class Story:
    """Rows of one user: a comparison and its differences, and the prediction, beside that of another method."""

    comparison: Row
    differences: Row
    prediction: Row
    beside: Row | None = None

    @property
    def found(self) -> list[Feature]:
        """The differences as extracted."""
        return parse_features(self.differences["extracted"] or "")

    @property
    def kept(self) -> list[Feature]:
        """The differences that were validated."""
        features: list[Feature] = self.differences["features"]
        return features

    @property
    def dropped(self) -> list[Feature]:
        """The differences that validation left out."""
        kept = {feature["name"] for feature in self.kept}
        return [feature for feature in self.found if feature["name"] not in kept]

    @property
    def changed(self) -> list[Feature]:
        """The differences that validation left out or put otherwise."""
        return [feature for feature in self.found if feature not in self.kept]


def choose_story(
    comparisons: pa.Table, differences: pa.Table, predictions: pa.Table, beside: pa.Table | None = None
) -> Story | None:
    """The story of the first user, by id, whose validation dropped one difference and kept another.

    Where there is none, that of the first user whose validation put one otherwise, or else who has any; None where no
    comparison found one.
    """
    stories = _stories(comparisons, differences, predictions, beside)
    told = [story for story in stories if story.kept]
    return min(told, key=lambda story: (not story.dropped, not story.changed), default=None)


def _stories(
    comparisons: pa.Table, differences: pa.Table, predictions: pa.Table, beside: pa.Table | None
) -> Iterable[Story]:
    """Every comparison of users who were written for, by user and rank."""
    keys = [("user_id", "ascending"), ("rank", "ascending")]
    compared = {(row["user_id"], row["item_id"]): row for row in comparisons.to_pylist()}
    written, written_beside = _ok_by_user(predictions), _ok_by_user(beside)
    ok = differences.filter(pc.equal(differences["status"], "ok"))
    for row in ok.sort_by(keys).to_pylist():
        user = row["user_id"]
        if user in written and row["validated"] is not None:
            yield Story(compared[user, row["item_id"]], row, written[user], written_beside.get(user))


def _ok_by_user(predictions: pa.Table | None) -> dict[str, Row]:
    rows = predictions.to_pylist() if predictions is not None else []
    return {row["user_id"]: row for row in rows if row["status"] == "ok"}


def story_lines(story: Story) -> list[str]:
    """The story in plain text, a paragraph each."""
    comparison, prediction = story.comparison, story.prediction
    others = comparison["representatives"]
    lines = [
        f"{prediction['user_id']} and {len(others)} others on {comparison['title']!r}",
        f"  the user: {_shown(comparison['review']['text'])}",
        *(f"  {other['user_id']}: {_shown(other['text'])}" for other in others),
        "What sets the user apart, as extracted:",
        *_features(story.found),
        "… and after validation:",
        *_features(story.kept),
        f"The profile that all comparisons lead to: {prediction['summary']}",
        f"Predicted review of {prediction['item_id']}: {prediction['prediction']}",
    ]
    if story.beside is not None:
        lines.append(f"… by {story.beside['method']}: {story.beside['prediction']}")
    return [*lines, f"What the user really wrote: {prediction['reference']}"]


def _features(features: Sequence[Feature]) -> list[str]:
    return [f"  {feature['name']}: {feature['description']}" for feature in features] or ["  nothing"]


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1].rstrip() + "…"
