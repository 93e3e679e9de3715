"""One WordNet for all tests of this folder, obtained once a session the way a user's job does."""

from pathlib import Path

import pytest

from drp_ray.evaluation.wordnet import obtain_wordnet


@pytest.fixture(scope="session")
def wordnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return obtain_wordnet(tmp_path_factory.mktemp("cache") / "wordnet-3.0", timeout_s=120)
