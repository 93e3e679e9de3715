"""The prompts that methods ask with, made from a pack of templates that a user can replace.

Every prompt is a short system message and a user message: first what neighbouring calls share, last the
instruction, so that the engine's prefix cache pays. Extraction and validation of one (user, item) pair share
the item and all its reviews; the summary and the review of one user share the past reviews.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from drp_ray.config import Dimension
from drp_ray.errors import nearest
from drp_ray.prompts.prompt import Prompt, Templates
from drp_ray.prompts.templates import RUBRIC, PromptPackError, read_sources
from drp_ray.schema import Row

BUILT_IN = Path(__file__).parent / "default"

EXTRACTION = Templates("system", "comparison", "dpl_extract")
OPEN_EXTRACTION = Templates("system", "comparison", "drp_extract")
VALIDATION = Templates("system", "comparison", "drp_validate")
PROFILE_SUMMARY = Templates("system", "history", "summarize")
CONTRAST_SUMMARY = Templates("system", "history", "summarize_contrast")
BLOCK_SUMMARY = Templates("system", "block", "summarize_block")
PERSONAL_REVIEW = Templates("system", "history", "generate")
JUDGEMENT = Templates("judge", "case", "verdict")
FEATURE_KEY = Templates("system", "taxonomy", "feature_key")


@dataclass(frozen=True)
class PromptPack:
    """The source of every template, by name. Plain text, so that a pack can travel to Ray's workers."""

    sources: Mapping[str, str]

    @classmethod
    def load(cls, folder: Path | None = None) -> Self:
        """Read and check the pack in `folder`, or the built-in one.

        Raises:
            PromptPackError: the folder or a template in it cannot be used.
        """
        if folder is not None and not folder.is_dir():
            raise PromptPackError(f"prompt pack {folder}: no such folder. Copy {BUILT_IN} and change the copy.")
        return cls(read_sources(folder or BUILT_IN, BUILT_IN))

    def sources_of(self, names: Iterable[str]) -> dict[str, str]:
        """The text of the templates that a stage uses, for its fingerprint."""
        return {name: self.sources[name] for name in sorted(set(names))}

    def extraction(self, comparison: Row, dimensions: Sequence[Dimension]) -> Prompt:
        """Compare a user with the representatives in the given dimensions; freely if there are none (DPL)."""
        return self._prompt(EXTRACTION, **_material(comparison), dimensions=list(dimensions))

    def open_extraction(self, comparison: Row, dimensions: Sequence[Dimension]) -> Prompt:
        """Go through the given dimensions, then through any others that the model finds (DRP, extraction)."""
        return self._prompt(OPEN_EXTRACTION, **_material(comparison), dimensions=list(dimensions))

    def validation(self, comparison: Row, extracted: str) -> Prompt:
        """Keep of the extracted differences those that do distinguish the user (DRP, validation)."""
        return self._prompt(VALIDATION, **_material(comparison), extracted=extracted)

    def profile_summary(self, history: Sequence[Row], differences: Sequence[Row] = ()) -> Prompt:
        """Summarise how a user writes, from past reviews and differences, where there are any (DPL)."""
        return self._prompt(PROFILE_SUMMARY, history=list(history), differences=list(differences))

    def contrast_summary(self, history: Sequence[Row], positive: Row, negative: Row) -> Prompt:
        """Summarise how a user writes, from past reviews and two reviews of one item: the user's and another's."""
        return self._prompt(CONTRAST_SUMMARY, history=list(history), positive=positive, negative=negative)

    def block_summary(self, block: Sequence[Row], summary: str | None) -> Prompt:
        """Summarise how a user writes, from some reviews in time order and the summary of those before them."""
        return self._prompt(BLOCK_SUMMARY, block=list(block), summary=summary)

    def personal_review(
        self, target: Row, history: Sequence[Row] = (), summary: str | None = None, peers: Sequence[Row] = ()
    ) -> Prompt:
        """Write the target review from what is known of the user, and from the reviews of a similar user (`peers`).

        Without any of these the user is known by rating and title only.
        """
        return self._prompt(PERSONAL_REVIEW, target=target, history=list(history), summary=summary, peers=list(peers))

    def judgement(self, rubric: str, labels: Sequence[str], target: Row, reference: str, judged: str) -> Prompt:
        """Say how like the real review of a target another text is, by a rubric and on a scale of eleven labels.

        The rubric is the system message: it is the same in every prompt of a judge.

        Raises:
            PromptPackError: the pack has no such rubric.
        """
        self.check_rubric(rubric)
        templates = JUDGEMENT._replace(system=rubric)
        return self._prompt(templates, labels=list(labels), target=target, reference=reference, judged=judged)

    def check_rubric(self, rubric: str) -> None:
        """See that the pack has a rubric.

        Raises:
            PromptPackError: it has none of this name.
        """
        if rubric not in self.sources:
            known = [name for name in self.sources if name.startswith(RUBRIC)]
            raise PromptPackError(f"the prompt pack has no rubric {rubric}.j2: {nearest(rubric, known)}")

    def feature_key(self, feature: Row, keys: Sequence[Row]) -> Prompt:
        """Put a difference under a label of the taxonomy (`evaluation.analyses.taxonomy`)."""
        return self._prompt(FEATURE_KEY, feature=feature, keys=list(keys))

    def _prompt(self, templates: Templates, **variables: Any) -> Prompt:
        return Prompt(self.sources, templates, variables)


def _material(comparison: Row) -> dict[str, Any]:
    """What the extraction and the validation of one (user, item) pair both see."""
    item = {"item_title": comparison["title"], "item_description": comparison["description"]}
    return {
        "item": item,
        "representatives": list(comparison["representatives"]),
        "review": comparison["review"],
    }
