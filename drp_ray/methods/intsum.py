"""Summarise the user's most relevant past reviews, then write from the summary and from them."""

from drp_ray.methods.base import Ask, UserContext, Written, method
from drp_ray.prompts.pack import PERSONAL_REVIEW, PROFILE_SUMMARY, PromptPack


@method("intsum", needs="history", asks={"summarizer": PROFILE_SUMMARY, "generator": PERSONAL_REVIEW})
async def intsum(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    """Summarise the N past reviews, then write as the user would (DPL, IntSum baseline)."""
    summary = await ask("summarizer", prompts.profile_summary(user.history), "Summary")
    review = await ask("generator", prompts.personal_review(user.target, user.history, summary), "Review")
    return Written(review, summary)
