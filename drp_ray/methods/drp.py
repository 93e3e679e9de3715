"""DPL with a reasoning model (DRP, arXiv 2511.15389): open dimensions, and differences that are validated."""

from collections.abc import Sequence

from drp_ray.config import Dimension
from drp_ray.llm.replies import parse_features
from drp_ray.methods.base import Ask, Extracted, UserContext, Written, differences, method
from drp_ray.methods.dpl import dpl
from drp_ray.prompts.pack import (
    OPEN_EXTRACTION,
    PERSONAL_REVIEW,
    PROFILE_SUMMARY,
    VALIDATION,
    PromptPack,
)
from drp_ray.schema import Row


@differences("drp", asks={"extractor": OPEN_EXTRACTION, "validator": VALIDATION})
async def compare(comparison: Row, ask: Ask, prompts: PromptPack, dimensions: Sequence[Dimension]) -> Extracted:
    """Find the differences in style and expression, then keep those that do distinguish the user."""
    extracted = await ask("extractor", prompts.open_extraction(comparison, dimensions))
    validated = await ask("validator", prompts.validation(comparison, extracted))
    return Extracted(extracted, validated, parse_features(validated))


@method("drp", needs="differences", asks={"summarizer": PROFILE_SUMMARY, "generator": PERSONAL_REVIEW})
async def drp(user: UserContext, ask: Ask, prompts: PromptPack) -> Written:
    """Write as DPL does, from validated differences (DPL, Eq. 2 and 3)."""
    return await dpl(user, ask, prompts)
