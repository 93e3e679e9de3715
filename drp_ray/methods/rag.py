"""Write from the user's most relevant past reviews."""

from drp_ray.methods.base import Ask, UserContext, Written, method
from drp_ray.prompts.pack import PERSONAL_REVIEW, PromptPack


@method("rag", needs="history", asks={"generator": PERSONAL_REVIEW})
async def rag(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    """Show the N retrieved past reviews and write as their author would (DPL, RAG baseline)."""
    reply = await ask("generator", prompts.personal_review(user.target, user.history), "Review")
    return Written(reply)
