"""Write from a summary of the past reviews, from them, and from what the most similar other user wrote."""

from drp_ray.methods.base import Ask, UserContext, Written, method
from drp_ray.prompts.pack import PERSONAL_REVIEW, PROFILE_SUMMARY, PromptPack


@method("persona-db", needs="neighbour", asks={"summarizer": PROFILE_SUMMARY, "generator": PERSONAL_REVIEW})
async def persona_db(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    """Summarise the N past reviews, then write with the neighbour's reviews at hand (DPL, Persona-DB baseline)."""
    summary = await ask("summarizer", prompts.profile_summary(user.history), "Summary")
    review = await ask("generator", prompts.personal_review(user.target, user.history, summary, user.peers), "Review")
    return Written(review, summary)
