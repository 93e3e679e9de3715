"""`users.leaks`: a dataset whose profiles give the target away is refused, cleaned or used, never silently."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from drp_ray import schema
from drp_ray.cli import app
from drp_ray.config import checked
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import BadInput
from drp_ray.inputs.catalogue import Catalogue, build_catalogue
from drp_ray.job.job import Job
from drp_ray.job.opened_job import open_job
from drp_ray.stages.stage import StageContext
from drp_ray.storage.folder import LocalFolder


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    """A dataset in which the third user has the target in the profile, and the fifth a later review."""
    folder = tmp_path_factory.mktemp("leaks") / "data"
    write_sample(LocalFolder(folder), 8, seed=0)
    path = folder / "users" / "part-00000.parquet"
    users = pq.read_table(path).to_pylist()
    users[2]["profile"].append(users[2]["target"])
    later = {**users[4]["profile"][0], "text": "much later", "timestamp": users[4]["target"]["timestamp"] + 1}
    users[4]["profile"].append(later)
    pq.write_table(pa.Table.from_pylist(users, schema.USERS), path)
    return folder, users


def job_of(leaking, tmp_path, leaks):
    settings = {"name": "j", "dataset": str(leaking[0]), "root": str(tmp_path), "method": "rag"}
    settings |= {"models": {"llm": {"id": "./none"}}, "users": {"leaks": leaks}}
    return Job(open_job(checked(settings, "the test")))


def test_both_are_refused_with_how_many_and_which_first(leaking, tmp_path):
    with pytest.raises(BadInput, match=r"users\.leaks: drop") as refused:
        job_of(leaking, tmp_path, "refuse").validate()
    ids = [user["user_id"] for user in leaking[1]]
    assert f"the target review in the user's own profile: 1 (first: {ids[2]})" in str(refused.value)
    assert f"reviews later than the target in the user's own profile: 1 (first: {ids[4]})" in str(refused.value)


@pytest.mark.parametrize("leaks", ["drop", "keep"])
def test_what_is_dropped_or_kept_is_said(leaking, tmp_path, leaks):
    assert (
        f"Leaks ({leaks}): the target review in the user's own profile: 1"
        in job_of(leaking, tmp_path, leaks).validate()
    )


def test_dropped_leaks_are_seen_by_no_stage_and_no_count(leaking, tmp_path):
    kept, dropped = (job_of(leaking, tmp_path, leaks).opened.dataset for leaks in ("keep", "drop"))
    reviews = {
        dataset: [
            len(user["profile"]) for group in dataset.row_groups() for user in dataset.read_users(group).to_pylist()
        ]
        for dataset in (kept, dropped)
    }
    assert [many - few for many, few in zip(reviews[kept], reviews[dropped], strict=True)] == [0, 0, 1, 0, 1, 0, 0, 0]
    item = leaking[1][2]["target"]["item_id"]
    reviewers = {
        dataset: dict(zip(*build_catalogue(dataset).select(["item_id", "reviewers"]).to_pydict().values(), strict=True))
        for dataset in (kept, dropped)
    }
    assert reviewers[kept][item] == reviewers[dropped][item] + 1


def test_the_three_ways_share_no_folder(leaking, tmp_path):
    plans = [job_of(leaking, tmp_path, leaks).opened.plan for leaks in ("refuse", "drop", "keep")]
    for stage in plans[0].stages:
        assert len({plan.stages[stage].fingerprint for plan in plans}) == 3


def test_the_command_line_refuses_before_anything_starts(leaking, tmp_path):
    settings = {"name": "j", "dataset": str(leaking[0]), "root": str(tmp_path / "out"), "method": "rag"}
    (tmp_path / "job.yaml").write_text(json.dumps({**settings, "models": {"llm": {"id": "./none"}}}))
    for command in ("validate", "run"):
        done = CliRunner().invoke(app, [command, str(tmp_path / "job.yaml")])
        assert done.exit_code == 2 and not (tmp_path / "out").exists()


def test_describe_counts_them(leaking, ray_here):
    done = CliRunner().invoke(app, ["data", "describe", str(leaking[0])])
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if "own profile" in line]
    assert any("the target review in the user's own profile" in line and " 1 " in line for line in lines)
    assert any("later than the target" in line and " 1 " in line for line in lines)


def test_jobs_of_one_process_that_read_a_dataset_differently_share_no_catalogue(leaking, tmp_path, ray_here):
    catalogues = {}
    reviewers = {}
    item = leaking[1][2]["target"]["item_id"]
    for leaks in ("keep", "drop"):
        opened = job_of(leaking, tmp_path, leaks).opened
        context = StageContext(opened.plan.spec, opened.dataset, {}, tmp_path, catalogues)
        reviewers[leaks] = Catalogue(ray_here.get(context.catalogue()))[item].reviewers
    assert reviewers["keep"] == reviewers["drop"] + 1
