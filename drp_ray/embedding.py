"""The import path of embedders before there was `drp_ray.engines.embedder`; it keeps working for users' own."""

from drp_ray.engines.embedder import Embedder, make_embedder, text_id

__all__ = ["Embedder", "make_embedder", "text_id"]
