"""What language models are asked: templates, the prompts made of them, and their shorter versions."""

from drp_ray.prompts.pack import (
    BLOCK_SUMMARY,
    CONTRAST_SUMMARY,
    EXTRACTION,
    FEATURE_KEY,
    JUDGEMENT,
    OPEN_EXTRACTION,
    PERSONAL_REVIEW,
    PROFILE_SUMMARY,
    VALIDATION,
    PromptPack,
)
from drp_ray.prompts.prompt import Prompt, Templates

__all__ = [
    "BLOCK_SUMMARY",
    "CONTRAST_SUMMARY",
    "EXTRACTION",
    "FEATURE_KEY",
    "JUDGEMENT",
    "OPEN_EXTRACTION",
    "PERSONAL_REVIEW",
    "PROFILE_SUMMARY",
    "VALIDATION",
    "Prompt",
    "PromptPack",
    "Templates",
]
