"""Real reviews, as raw Amazon data has them, through the stages that need no language model."""

from pathlib import Path

import pytest

from benchmarks.real_reviews import read_reviews, write_dataset
from tests.end_to_end.conftest import Job, sample, settings

RAW = Path(__file__).parents[2] / "shared" / "data" / "digital_music"
__all__ = ["sample", "settings"]

pytestmark = pytest.mark.skipif(
    not RAW.is_dir(), reason="the raw reviews lie beside the developers' checkouts and are not part of the project"
)


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("music") / "music"
    write_dataset(RAW, folder)
    return folder


def test_the_thinned_out_reviews_are_those_that_their_readme_counts():
    reviews = read_reviews(RAW / "Digital_Music.jsonl.gz")
    items = {review["item_id"] for written in reviews.values() for review in written}
    assert (len(reviews), len(items), sum(map(len, reviews.values()))) == (234, 181, 2125)


def test_they_run_through_the_job_up_to_the_comparisons(tmp_path, music, settings):
    job = Job(tmp_path, {**settings, "dataset": str(music), "root": str(tmp_path / "results")})
    done = job.run("run", "--until", "comparisons", "--set", "users.limit=60")
    assert done.returncode == 0, done.stderr
    job = Job(tmp_path, {**job.settings, "users": {"limit": 60}})
    pairs = job.rows("comparisons").to_pylist()
    profiles = {row["user_id"]: row["profile"] for row in job.rows("users").to_pylist()}
    assert len(profiles) == 60 and pairs
    peers = {representative["user_id"] for pair in pairs for representative in pair["representatives"]}
    assert peers - set(profiles), "those who are not predicted for are peers all the same"
    for pair in pairs:
        assert pair["review"]["text"] in {review["text"] for review in profiles[pair["user_id"]]}
        others = [representative["user_id"] for representative in pair["representatives"]]
        assert 1 <= len(others) <= 2 and pair["user_id"] not in others
