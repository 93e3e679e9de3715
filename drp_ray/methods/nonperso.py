"""Write with no knowledge of the user: the baseline that shows what personalization adds."""

from drp_ray.methods.base import Ask, UserContext, Written, method
from drp_ray.prompts.pack import PERSONAL_REVIEW, PromptPack


@method("nonperso", needs="nothing", asks={"generator": PERSONAL_REVIEW})
async def nonperso(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    """Write from the target item, rating and review title alone (DPL, non-personalized baseline)."""
    reply = await ask("generator", prompts.personal_review(user.target), "Review")
    return Written(reply)
