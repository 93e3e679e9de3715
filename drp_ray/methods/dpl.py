"""Difference-aware personalization (DPL, arXiv 2503.02450): a user is what sets them apart."""

from collections.abc import Sequence

from drp_ray.config import Dimension
from drp_ray.llm.replies import parse_paragraphs
from drp_ray.methods.base import Ask, Extracted, UserContext, Written, differences, method
from drp_ray.prompts.pack import EXTRACTION, PERSONAL_REVIEW, PROFILE_SUMMARY, PromptPack
from drp_ray.schema import Row

NAMES: dict[Dimension, str] = {
    "writing": "Writing style",
    "emotion": "Emotional style",
    "semantic": "Semantic style",
}
"""The dimensions as the prompt names them, and the replies after it."""


@differences("dpl", asks={"extractor": EXTRACTION})
async def compare(comparison: Row, ask: Ask, prompts: PromptPack, dimensions: Sequence[Dimension]) -> Extracted:
    """Compare a user with the representatives of one item in fixed dimensions (DPL)."""
    extracted = await ask("extractor", prompts.extraction(comparison, dimensions))
    return Extracted(extracted, features=parse_paragraphs(extracted, [NAMES[name] for name in dimensions]))


@method("dpl", needs="differences", asks={"summarizer": PROFILE_SUMMARY, "generator": PERSONAL_REVIEW})
async def dpl(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    """Summarise what sets the user apart, then write as the user would (DPL, Eq. 2 and 3)."""
    profile = prompts.profile_summary(user.history, user.differences)
    summary = await ask("summarizer", profile, "Summary")
    review = await ask("generator", prompts.personal_review(user.target, user.history, summary), "Review")
    return Written(review, summary)
