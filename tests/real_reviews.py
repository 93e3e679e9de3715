"""Real Amazon reviews, which lie beside the developers' checkouts: where, and as a dataset that is built once."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from drp_ray.cli import app

RAW = Path(__file__).parents[2] / "shared" / "data" / "digital_music"
OPTIONS = [
    *("--item-key", "parent_asin"),
    *("--min-description-chars", "0", "--min-item-reviewers", "5", "--min-user-reviews", "5", "--holdout", "1"),
    *("--min-profile-item-reviewers", "1", "--min-profile-reviews", "1"),
]


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory, ray_here) -> Path:
    """The dataset of all users that OPTIONS leave."""
    out = tmp_path_factory.mktemp("built") / "music"
    inputs = ["--reviews", str(RAW / "Digital_Music.jsonl.gz"), "--meta", str(RAW / "meta_Digital_Music.jsonl.gz")]
    result = CliRunner().invoke(app, ["data", "amazon", *inputs, "--out", str(out), *OPTIONS])
    assert result.exit_code == 0, result.output
    assert "234" in result.stdout and "2,125" in result.stdout
    return out
