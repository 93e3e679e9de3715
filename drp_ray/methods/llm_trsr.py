"""Summarise the whole profile block by block, then write from the summary and the most relevant past reviews."""

from drp_ray.methods.base import Ask, UserContext, Written, method
from drp_ray.prompts.pack import BLOCK_SUMMARY, PERSONAL_REVIEW, PromptPack

BLOCK = 8
"""Past reviews that are read at once."""


@method("llm-trsr", needs="profile", asks={"summarizer": BLOCK_SUMMARY, "generator": PERSONAL_REVIEW})
async def llm_trsr(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    """Carry a summary through the profile in time order, then write as the user would (DPL, LLM-TRSR baseline)."""
    summary = None
    for start in range(0, len(user.profile), BLOCK):
        block = user.profile[start : start + BLOCK]
        summary = await ask("summarizer", prompts.block_summary(block, summary), "Summary")
    review = await ask("generator", prompts.personal_review(user.target, user.history, summary), "Review")
    return Written(review, summary)
