"""Turn texts into vectors with a sentence-transformers model."""

import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from drp_ray.config import Embedding
from drp_ray.engines.gc_pause import collector_paused
from drp_ray.errors import BadInput
from drp_ray.inputs.import_path import load_object
from drp_ray.inputs.packaged_model import PACKAGE, files_in_package, has_only_pickles

SENTENCE_TRANSFORMERS = "sentence-transformers"
BIDIRECTIONAL = "gte-Qwen2"
"""Models of this family need code from the hub for the attention they were trained with."""


class Embedder(Protocol):
    """Maps texts to vectors."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed `n` texts: float32[n, d]."""


def text_id(text: str) -> str:
    """Name a text by its content: equal texts have equal names, in every dataset."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def locate_model(settings: Embedding) -> str:
    """The folder or hub id to load; for `package:NAME`, the folder with weights inside that installed package.

    Raises:
        BadInput: the package or the folder has no model, or the weights are not those of `embedding.sha256`.
    """
    if settings.model.startswith(PACKAGE):
        folder = _folder_in_package(settings.model.removeprefix(PACKAGE))
    elif Path(settings.model).is_dir():
        folder = Path(settings.model)
    else:
        return settings.model
    weights = folder / "model.safetensors"
    if not settings.allow_pickle and has_only_pickles(folder):
        raise BadInput(
            f"embedding.model: the weights in {folder} are pickles, which run code when they are loaded: convert them "
            "to safetensors, or trust them with embedding.allow_pickle: true"
        )
    if settings.sha256 is not None and _sha256(weights) != settings.sha256:
        raise BadInput(f"embedding.model: {weights} is not the file that embedding.sha256 names")
    return str(folder)


def _folder_in_package(package: str) -> Path:
    configs = files_in_package(package, "modules.json", "embedding.model")
    if not configs:
        raise BadInput(f"embedding.model: the package {package} carries no sentence-transformers model")
    return configs[0].parent


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"embedding.model: {path}: {error.strerror}") from error


def warning_about(settings: Embedding) -> str | None:
    """What a user should know of the vectors that these settings give; None where there is nothing to say."""
    if BIDIRECTIONAL in settings.model and not settings.trust_remote_code:
        return (
            f"{settings.model} was trained with bidirectional attention, which needs code from the hub. Without it "
            "the embeddings differ from the published runs: set embedding.trust_remote_code and a revision to use it."
        )
    return None


@dataclass
class SentenceEmbedder:
    """A loaded sentence-transformers model."""

    settings: Embedding

    def __post_init__(self) -> None:
        # Imported here: the driver and the command line must start without torch.
        import torch
        from sentence_transformers import SentenceTransformer

        on_cpu = self.settings.num_gpus == 0
        self._threads = max(1, (os.cpu_count() or 1) // self.settings.replicas.max) if on_cpu else 1
        if on_cpu:
            # Batches side by side, one core each: cores that share a batch wait for each other after every layer.
            torch.set_num_threads(1)
        self._model: Any = SentenceTransformer(
            locate_model(self.settings),
            revision=self.settings.revision,
            trust_remote_code=self.settings.trust_remote_code,
            model_kwargs={} if self.settings.allow_pickle else {"use_safetensors": True},
            device="cpu" if on_cpu else None,
        )
        if self.settings.max_tokens is not None:
            self._model.max_seq_length = self.settings.max_tokens
        # A tokenizer takes its settings with its first texts, which threads must not do at the same time.
        self._encode(["warm up"])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts, batched by length, the longest first."""
        if self._threads == 1:
            return self._encode(texts)
        by_length = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        size = min(self.settings.batch_size, math.ceil(len(texts) / self._threads))
        batches = [by_length[start : start + size] for start in range(0, len(texts), size)]
        with ThreadPoolExecutor(self._threads) as threads:
            encoded = list(threads.map(lambda places: self._encode([texts[place] for place in places]), batches))
        vectors = np.empty((len(texts), encoded[0].shape[1]), np.float32)
        vectors[by_length] = np.concatenate(encoded)
        return vectors

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = self._model.encode(list(texts), batch_size=self.settings.batch_size, show_progress_bar=False)
        return np.asarray(vectors, np.float32)


def make_embedder(settings: Embedding) -> Embedder:
    """Load the embedder that `embedding.engine` names; one of your own is constructed with the settings."""
    if settings.engine == SENTENCE_TRANSFORMERS:
        with collector_paused():
            return SentenceEmbedder(settings)
    embedder: Embedder = load_object(settings.engine, "embedding.engine")(settings)
    return embedder
