"""A hub model without a revision is pinned to the commit of the run's start, from a hub served on this machine."""

import json
import threading
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest

from drp_ray.config import checked
from drp_ray.data.sample_files import write_sample
from drp_ray.errors import JobFailed
from drp_ray.job import levels, revisions
from drp_ray.job import run as run_module
from drp_ray.job.checks import notes_on
from drp_ray.job.opened_job import open_job
from drp_ray.job.run_record import RUN, check_run_name, write_run
from drp_ray.running.stage_info import RunOptions
from drp_ray.storage.folder import LocalFolder
from drp_ray.storage.parts import Manifest, commit_part, write_manifest
from drp_ray.storage.versions import versions


@pytest.fixture(scope="module")
def hub():
    """A hub that knows some models, by commit."""
    commits = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            commit = commits.get(self.path.removeprefix("/api/models/").partition("?")[0])
            body = json.dumps({"id": "m", "sha": commit} if commit else {"error": "not found"}).encode()
            self.send_response(200 if commit else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield commits, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("revisions") / "data"
    write_sample(LocalFolder(folder), 4, seed=0)
    return folder


def config_of(dataset, tmp_path, **settings):
    base = {"name": "r", "dataset": str(dataset), "root": str(tmp_path / "out"), "method": "dpl"}
    models = {"llm": {"id": "some/writer"}}
    return checked({**base, "models": models, "embedding": {"model": "some/embedder"}, **settings}, "the test")


def test_the_hub_says_the_commit_and_one_that_does_not_answer_says_none(hub, monkeypatch):
    commits, endpoint = hub
    # Tests are without a network by a variable that the hub's client honours.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    commits["some/writer"] = "c" * 40
    assert revisions.commit_on_hub("some/writer", endpoint) == "c" * 40
    assert revisions.commit_on_hub("no/such-model", endpoint) is None
    assert revisions.commit_on_hub("some/writer", "http://127.0.0.1:9") is None


def test_what_needs_no_commit_is_not_looked_up(dataset, tmp_path):
    (tmp_path / "local").mkdir()
    models = {
        "pinned": {"id": "a/b", "revision": "main"},
        "local": {"id": str(tmp_path / "local")},
        "relative": {"id": "./not/there"},
        "endpoint": {"id": "gpt", "engine": "openai"},
        "own": {"id": "x/y", "engine": "my.module:Engine"},
    }
    config = config_of(dataset, tmp_path, models=models, embedding={"model": "package:minilm"})
    assert revisions.unpinned_models(config) == []
    assert revisions.unpinned_models(config_of(dataset, tmp_path)) == ["some/embedder", "some/writer"]


def test_a_run_goes_on_with_the_commits_of_its_start(dataset, tmp_path, monkeypatch):
    served = {"some/writer": "old", "some/embedder": "e1"}
    monkeypatch.setattr(revisions, "commit_on_hub", lambda name: served[name])
    first = open_job(config_of(dataset, tmp_path))
    assert first.config.models["llm"].revision == "old" and first.config.embedding.revision == "e1"
    write_run(first.run_folder, first.config, first.plan, first.revisions)

    served["some/writer"] = "new"
    again = open_job(config_of(dataset, tmp_path))
    assert again.plan.stages == first.plan.stages
    check_run_name(again.run_folder, again.config, again.plan)

    other = open_job(config_of(dataset, tmp_path, name="other"))
    assert other.plan.stages["predictions"].fingerprint != first.plan.stages["predictions"].fingerprint
    assert json.loads(first.run_folder.read(RUN))["revisions"] == {"some/writer": "old", "some/embedder": "e1"}


def test_a_run_writes_its_commits_down_before_anything_is_made(dataset, tmp_path, monkeypatch):
    def stopped(*_):
        raise JobFailed("at its first stage")

    monkeypatch.setattr(revisions, "commit_on_hub", lambda name: "old")
    monkeypatch.setattr(
        run_module, "prepared", lambda *_: nullcontext(RunOptions(1, None, retry_errors=False, monitor=None))
    )
    monkeypatch.setattr(levels, "_stages_of_level", stopped)
    with pytest.raises(JobFailed, match="first stage"):
        run_module.run(open_job(config_of(dataset, tmp_path)), lambda line: None)
    monkeypatch.setattr(revisions, "commit_on_hub", lambda name: "new")
    assert open_job(config_of(dataset, tmp_path)).config.models["llm"].revision == "old"


def test_a_run_that_could_not_be_pinned_says_so_and_stays_as_it_is(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(revisions, "commit_on_hub", lambda name: None)
    first = open_job(config_of(dataset, tmp_path))
    assert sum("is not pinned" in note for note in notes_on(first)) == 2
    write_run(first.run_folder, first.config, first.plan, first.revisions)
    monkeypatch.setattr(revisions, "commit_on_hub", lambda name: "found later")
    assert open_job(config_of(dataset, tmp_path)).plan.stages == first.plan.stages


def test_a_judge_that_comes_later_is_pinned_when_it_comes_and_from_then_on(dataset, tmp_path, monkeypatch):
    served = {"some/writer": "w1", "some/embedder": "e1", "some/judge": "j1"}
    monkeypatch.setattr(revisions, "commit_on_hub", lambda name: served[name])
    first = open_job(config_of(dataset, tmp_path))
    write_run(first.run_folder, first.config, first.plan, first.revisions)
    judge = {"models": {"llm": {"id": "some/writer"}, "big": {"id": "some/judge"}}}
    judge |= {"evaluation": {"judge": {"model": "big"}}}
    added = open_job(config_of(dataset, tmp_path, **judge))
    assert added.config.models["big"].revision == "j1" and added.config.models["llm"].revision == "w1"
    write_run(added.run_folder, added.config, added.plan, added.revisions)
    served |= {"some/judge": "j2", "some/writer": "w2"}
    write_run(first.run_folder, first.config, first.plan, first.revisions)
    assert open_job(config_of(dataset, tmp_path, **judge)).plan.stages == added.plan.stages


def test_a_job_says_where_parts_were_made_with_other_versions(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(revisions, "commit_on_hub", lambda name: "c")
    job = open_job(config_of(dataset, tmp_path))
    folder = job.plan.stages["users"].folder
    assert not any("other versions" in note for note in notes_on(job))
    with monkeypatch.context() as old:
        old.setattr("drp_ray.storage.parts.versions", lambda: {**versions(), "pyarrow": "0.1"})
        made = commit_part(folder, "part-00000.parquet", pa.table({"user_id": ["u"]}), {}, "")
    manifest = Manifest(stage="users", fingerprint="f", made_from={}, inputs={}, parts=[made.entry])
    write_manifest(folder, manifest)
    [note] = [note for note in notes_on(job) if "other versions" in note]
    assert note == f"parts of users were made with other versions: pyarrow 0.1, now {pa.__version__}"
