"""The import path of embedders before there was `drp_ray.stages.embedder`; it keeps working for users' own."""

from drp_ray.stages.embedder import Embedder, make_embedder, text_id

__all__ = ["Embedder", "make_embedder", "text_id"]
