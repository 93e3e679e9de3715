"""The stage `retrieved`: with `selection.as_of: target` reviewers who came later make no item eligible for anybody."""

import asyncio

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drp_ray import schema
from drp_ray.config import checked
from drp_ray.inputs.dataset import Dataset
from drp_ray.job.plan import make_plan
from drp_ray.stages.retrieved import RETRIEVED
from drp_ray.stages.stage import StageContext
from drp_ray.storage.folder import LocalFolder

TARGET_TIME = 5


def review(item, timestamp):
    return {"item_id": item, "rating": 4.0, "title": "t", "text": "a text", "timestamp": timestamp}


def user(number, *moments):
    """A user who reviewed the item `early` at the first time and `late` at the second."""
    profile = [review(item, moment) for item, moment in zip(("early", "late"), moments, strict=True)]
    return {"user_id": f"u{number}", "profile": profile, "target": review("target", TARGET_TIME)}


USERS = pa.Table.from_pylist([user(0, 1, 1), user(1, 2, 8), user(2, 3, 9)], schema.USERS)
ITEMS = [{"item_id": name, "title": name, "description": None} for name in ("early", "late", "target")]


@pytest.mark.parametrize(("as_of", "eligible"), [("none", ["early", "late"]), ("target", ["early"])])
def test_as_of_the_target_only_those_count_who_wrote_until_then(ray_here, tmp_path, as_of, eligible):
    for name, rows in (("users", USERS), ("items", pa.Table.from_pylist(ITEMS, schema.CATALOGUE))):
        (tmp_path / name).mkdir()
        pq.write_table(rows, tmp_path / name / "0.parquet")
    folder = LocalFolder(tmp_path)
    job = {"name": "j", "dataset": "d", "root": "r", "method": "dpl", "models": {"llm": {"id": "some/model"}}}
    config = checked({**job, "selection": {"k": 2, "as_of": as_of}}, "the test")
    plan = make_plan(config, "d", {}, folder)
    worker = RETRIEVED.make(StageContext(plan.spec, Dataset.open(folder, folder), {}, tmp_path, {}))

    async def run():
        await worker.start(lambda **counts: None)
        return await worker.work("part-00000.parquet", USERS, None)

    [found, *_] = asyncio.run(run()).to_pylist()
    profile = USERS["profile"][0].as_py()
    assert sorted(profile[position]["item_id"] for position in found["eligible"]) == eligible
    assert len(found["history"]) == 2
