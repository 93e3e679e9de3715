"""Summarise from a contrast, the user's review and another's of one item, then write from the summary."""

from drp_ray.methods.base import Ask, UserContext, Written, method
from drp_ray.prompts.pack import CONTRAST_SUMMARY, PERSONAL_REVIEW, PromptPack


@method("cicl", needs="contrast", asks={"summarizer": CONTRAST_SUMMARY, "generator": PERSONAL_REVIEW})
async def cicl(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    """Show how the user writes and how the user does not, then write as the user would (DPL, CICL baseline)."""
    negative = user.peers[0]
    positive = next(past for past in user.history if past["item_id"] == negative["item_id"])
    contrast = prompts.contrast_summary(user.history, positive, negative)
    summary = await ask("summarizer", contrast, "Summary")
    review = await ask("generator", prompts.personal_review(user.target, user.history, summary), "Review")
    return Written(review, summary)
