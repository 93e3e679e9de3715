"""Embedding similarity: how near prediction and reference are in the space of an embedding model."""

import os
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from drp_ray.config import Embedding, Replicas
from drp_ray.engines.embedder import Embedder, make_embedder
from drp_ray.evaluation.metrics.base import Metric, Scores, metric


@metric("embedding_similarity", "Embedding similarity")
class EmbeddingSimilarity(Metric):
    """Cosine of the embeddings of whole texts, on the CPU; 0 where a text is empty.

    It is no BERTScore, which matches word by word; like it, it counts other words for the same thing.
    """

    only_on_request = True

    class Settings(Metric.Settings):
        """The embedding model, as in the job's `embedding`; give a hub model its revision."""

        model: Annotated[str, Field(min_length=1)]
        engine: str = "sentence-transformers"
        revision: str | None = None
        sha256: str | None = None
        trust_remote_code: bool = False
        max_tokens: int | None = None

    settings: Settings

    @property
    def signature(self) -> str:
        """See `Metric`."""
        return f"cosine of embeddings v1|sentence-transformers {version('sentence-transformers')}"

    @cached_property
    def _embedder(self) -> Embedder:
        # One text in a batch: in company, a text's vector differs in its last digits. One thread: every CPU has a
        # process that scores.
        processes = Replicas(max=os.cpu_count() or 1)
        return make_embedder(Embedding(**self.settings.model_dump(), batch_size=1, replicas=processes, num_gpus=0))

    def score(self, prediction: str, reference: str) -> Scores:
        """See `Metric`. Between -1 and 1."""
        return self.score_batch([prediction], [reference])[0]

    def score_batch(self, predictions: Sequence[str], references: Sequence[str]) -> list[Scores]:
        """See `Metric`. Every distinct text is embedded once, and none where one of its pair is empty."""
        pairs = list(zip(predictions, references, strict=True))
        texts = list(dict.fromkeys(text for pair in pairs if all(map(str.strip, pair)) for text in pair))
        vectors = dict(zip(texts, self._embedder.encode(texts).astype(np.float64), strict=True)) if texts else {}
        return [
            {self.name: _cosine(vectors[one], vectors[other]) if one in vectors and other in vectors else 0.0}
            for one, other in pairs
        ]


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0
