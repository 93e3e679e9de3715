"""Real reviews, embedded in other batches by other numbers of workers: the same comparisons in the same folders.

A part of the users is enough, and saves minutes: nobody else is a peer then. With `USERS = 234` it is all of them.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from drp_ray.inputs.dataset import Dataset
from drp_ray.stages.items import vectors_by_text
from drp_ray.storage.folder import LocalFolder
from tests.end_to_end.conftest import Job
from tests.real_reviews import RAW

QUICKSTART = Path(__file__).parents[2] / "jobs/quickstart.yaml"
USERS = 80

pytestmark = pytest.mark.skipif(
    not RAW.is_dir(), reason="the raw reviews lie beside the developers' checkouts and are not part of the project"
)


@pytest.fixture(scope="module")
def dataset(music, tmp_path_factory):
    """The first users of the real reviews."""
    built = Dataset.open(LocalFolder(music / "test"), LocalFolder(music))
    [group] = built.row_groups()
    first = tmp_path_factory.mktemp("music") / "first"
    (first / "users").mkdir(parents=True)
    pq.write_table(built.read_users(group).slice(0, USERS), first / "users" / "part-00000.parquet")
    (first / "items").symlink_to(music / "items")
    return first


def run_until_comparisons(folder, dataset, tiny_model, **embedding):
    """The quickstart's job on the real reviews, with a root of its own."""
    settings = yaml.safe_load(QUICKSTART.read_text())
    settings |= {"dataset": str(dataset), "root": str(folder / "results"), "runtime": {"num_cpus": 4}}
    settings["models"]["llm"]["id"] = str(tiny_model)
    settings["embedding"] |= embedding
    folder.mkdir()
    job = Job(folder, settings)
    done = job.run("run", "--until", "comparisons")
    assert done.returncode == 0, done.stderr
    return job


def test_other_batches_and_other_numbers_of_workers_give_equal_comparisons(tmp_path, dataset, tiny_model):
    one = run_until_comparisons(tmp_path / "one", dataset, tiny_model, batch_size=8, replicas=1)
    two = run_until_comparisons(tmp_path / "two", dataset, tiny_model, batch_size=32, replicas=2)
    vectors, others = (vectors_by_text(job.rows("embeddings")) for job in (one, two))
    largest = max(float(np.abs(vectors[name] - others[name]).max()) for name in vectors)
    assert vectors.keys() == others.keys() and 0 < largest < 1e-6, "the vectors differ, and only by rounding"
    assert one.stage("comparisons").uri.partition("results")[2] == two.stage("comparisons").uri.partition("results")[2]
    pairs, others = (job.rows("comparisons").to_pylist() for job in (one, two))
    assert len(pairs) > 200
    equal = [pair == other for pair, other in zip(pairs, others, strict=True)]
    assert [(pair["user_id"], pair["item_id"]) for pair, same in zip(pairs, equal, strict=True) if not same] == []
