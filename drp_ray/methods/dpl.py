"""Difference-aware personalization (DPL, arXiv 2503.02450): a user is what sets them apart."""

from collections.abc import Sequence

from drp_ray.config import Dimension
from drp_ray.llm.replies import parse_features, usable
from drp_ray.methods.base import Ask, Extracted, UserContext, Written, differences, method
from drp_ray.prompts.pack import EXTRACTION, PERSONAL_REVIEW, PROFILE_SUMMARY, PromptPack
from drp_ray.schema import Row


@differences("dpl", asks={"extractor": EXTRACTION})
async def compare(comparison: Row, ask: Ask, prompts: PromptPack, dimensions: Sequence[Dimension]) -> Extracted:
    """Compare a user with the representatives of one item in fixed dimensions (DPL)."""
    extracted = usable(await ask("extractor", prompts.extraction(comparison, dimensions)))
    return Extracted(extracted, features=parse_features(extracted))


@method("dpl", needs="differences", asks={"summarizer": PROFILE_SUMMARY, "generator": PERSONAL_REVIEW})
async def dpl(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    """Summarise what sets the user apart, then write as the user would (DPL, Eq. 2 and 3)."""
    profile = prompts.profile_summary(user.history, user.differences)
    summary = usable(await ask("summarizer", profile), "Summary")
    review = await ask("generator", prompts.personal_review(user.target, user.history, summary))
    return Written(usable(review, "Review"), summary)
