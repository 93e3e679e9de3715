"""The import path of embedders before they moved to `drp_ray.engines.embedder`; it keeps working."""

from drp_ray.engines.embedder import (
    SENTENCE_TRANSFORMERS,
    Embedder,
    SentenceEmbedder,
    locate_model,
    make_embedder,
    text_id,
    warning_about,
)
from drp_ray.inputs.packaged_model import PACKAGE

__all__ = [
    "PACKAGE",
    "SENTENCE_TRANSFORMERS",
    "Embedder",
    "SentenceEmbedder",
    "locate_model",
    "make_embedder",
    "text_id",
    "warning_about",
]
