"""`drp-ray quickstart` writes a job that can be run, continues what is there, and overwrites nothing of a user's."""

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import drp_ray.cli
from drp_ray.cli import app
from drp_ray.config import load_config
from drp_ray.data.quickstart import SHIPPED_JOB, Quickstart, write_quickstart
from drp_ray.errors import BadInput
from drp_ray.inputs.dataset import Dataset
from drp_ray.inputs.dataset_check import check_dataset
from drp_ray.inputs.packaged_model import locate_language_model
from drp_ray.storage.folder import LocalFolder

USERS = ".quickstart/sample/users/part-00000.parquet"
ITEMS = ".quickstart/sample/items/part-00000.parquet"
JOB = "quickstart.yaml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(
    n_users: int = 48, model: str | None = None, directory: Path = Path(), endpoint: str | None = None
) -> list[str]:
    """Write a quickstart; the lines that were printed."""
    lines: list[str] = []
    write_quickstart(Quickstart(directory, n_users, model, endpoint), lines.append)
    return lines


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refused(folder: Path, name: str, **settings) -> str:
    """The message that refuses the file `name`; nothing was written."""
    before = contents(folder)
    with pytest.raises(BadInput, match=name) as refusal:
        write(**settings)
    assert contents(folder) == before
    return str(refusal.value)


def test_the_shipped_job_is_the_one_in_the_repositorys_jobs():
    assert SHIPPED_JOB.read_bytes() == (Path(__file__).parents[2] / "jobs" / JOB).read_bytes()


def test_the_job_and_its_dataset_are_written(here):
    assert [line.partition(" (")[0] for line in write(3)] == [
        "Writing the generated sample .quickstart/sample-3: 3 users",
        "Writing the job file quickstart-3-users.yaml",
    ]
    config = load_config(Path("quickstart-3-users.yaml"))
    folder = LocalFolder(here / config.dataset)
    dataset = Dataset.open(folder, folder)
    check_dataset(dataset)
    assert sum(group.rows for group in dataset.row_groups()) == 3
    assert Path(locate_language_model(config.models["llm"].id, "models"), "model.safetensors").is_file()


def test_written_again_nothing_changes(here):
    write()
    before = contents(here)
    assert write() == []
    assert contents(here) == before


@pytest.mark.parametrize("name", [USERS, ITEMS, JOB])
def test_a_file_that_is_missing_is_written_and_the_others_are_left(here, name):
    write()
    before = contents(here)
    (here / name).unlink()
    assert len(write()) == 1
    after = contents(here)
    assert after.pop(name)[0] == before.pop(name)[0]
    assert after == before


@pytest.mark.parametrize(
    ("n_users", "model", "name", "sample"),
    [
        (48, None, "quickstart", ".quickstart/sample"),
        (100, None, "quickstart-100-users", ".quickstart/sample-100"),
        (48, "Qwen/Qwen2.5-0.5B-Instruct", "quickstart-Qwen-Qwen2.5-0.5B-Instruct", ".quickstart/sample"),
        (8, "../models/a b", "quickstart-models-a-b-8-users", ".quickstart/sample-8"),
    ],
)
def test_another_model_or_number_of_users_is_a_run_of_its_own(here, n_users, model, name, sample):
    """The names are those that `make run` gave before there was the command, so that its results are found."""
    write(n_users, model)
    overrides = [f"name={name}", f"dataset={sample}"]
    if model is not None:
        overrides += [f"models.llm.id={model}", "models.llm.max_model_len=8192", "sampling.max_tokens=512"]
        overrides += ["retrieval.n=2", "selection.k=2"]
    assert load_config(here / f"{name}.yaml") == load_config(SHIPPED_JOB, overrides)
    assert (here / sample / "users").is_dir()


def test_quickstarts_lie_beside_each_other(here):
    write()
    before = contents(here)
    write(3)
    write(3, "some/model")
    assert before.items() <= contents(here).items()


def test_a_model_behind_an_endpoint_is_asked_there_and_loaded_nowhere(here):
    write(3, "qwen2.5:0.5b", endpoint="http://localhost:11434/v1")
    config = load_config(here / "quickstart-qwen2.5-0.5b-3-users.yaml")
    model = config.models["llm"]
    assert (model.engine, model.id, model.base_url) == ("openai", "qwen2.5:0.5b", "http://localhost:11434/v1")
    assert (config.retrieval.n, config.selection.k, config.sampling.max_tokens) == (2, 2, 512)
    shipped = load_config(SHIPPED_JOB)
    assert (config.embedding, config.method) == (shipped.embedding, shipped.method)


def test_an_endpoint_without_a_model_is_refused_with_what_to_give():
    with pytest.raises(BadInput, match="--model"):
        Quickstart(Path(), endpoint="http://localhost:11434/v1")


def test_a_models_folder_is_found_from_another_folder(here):
    (here / "model").mkdir()
    write(3, "model", here / "elsewhere")
    config = load_config(here / "elsewhere" / "quickstart-model-3-users.yaml")
    assert config.models["llm"].id == str(here / "model")


def test_a_job_that_a_user_changed_is_refused_with_what_to_do(here):
    write()
    (here / JOB).write_text((here / JOB).read_text().replace("replicas: 1", "replicas: 2"))
    message = refused(here, JOB)
    assert "drp-ray run quickstart.yaml" in message
    assert "drp-ray quickstart DIR" in message


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b""])
def test_a_job_that_is_no_yaml_is_refused(here, content):
    (here / JOB).write_bytes(content)
    refused(here, JOB)


def test_a_job_with_other_comments_is_kept(here):
    write()
    (here / JOB).write_text("# mine\n" + (here / JOB).read_text())
    before = contents(here)
    assert write() == []
    assert contents(here) == before


@pytest.mark.parametrize("name", [USERS, ITEMS])
def test_a_sample_with_other_rows_is_refused(here, name):
    write()
    rows = pq.read_table(here / name)
    pq.write_table(rows.slice(1), here / name)
    assert "drp-ray quickstart DIR" in refused(here, name)
    (here / name).write_bytes(b"no Parquet")
    refused(here, name)


def test_a_sample_with_the_same_rows_in_other_bytes_is_kept(here):
    write()
    pq.write_table(pq.read_table(here / USERS), here / USERS, compression="none")
    before = contents(here)
    assert write() == []
    assert contents(here) == before


def test_a_sample_with_a_file_more_is_refused(here):
    write()
    rows = pq.read_table(here / USERS)
    more = rows.slice(0, 1).set_column(0, "user_id", pc.binary_join_element_wise(rows["user_id"][:1], "x", ""))
    pq.write_table(more, here / USERS.replace("00000", "mine"))
    refused(here, "part-mine.parquet")


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput, match="file"):
        write(3, None, tmp_path / "file" / "below")


class TestCommand:
    def run(self, *arguments: str):
        return CliRunner().invoke(app, ["quickstart", *arguments])

    @pytest.fixture
    def runs(self, monkeypatch):
        """The job files that would have been run, and the folders they were started in."""
        runs: list[tuple[str, Path]] = []
        monkeypatch.setattr(drp_ray.cli, "_run_quickstart", lambda file: runs.append((file, Path.cwd())))
        return runs

    def test_the_job_is_run_where_it_was_written(self, here, runs):
        result = self.run("below", "--users", "3")
        assert result.exit_code == 0, result.output
        assert runs == [("quickstart-3-users.yaml", here / "below")]
        assert Path.cwd() == here

    def test_the_current_folder_and_48_users_are_the_default(self, here, runs):
        assert self.run().exit_code == 0
        assert runs == [("quickstart.yaml", here)]
        assert pq.read_metadata(here / USERS).num_rows == 48

    def test_with_a_real_model_there_are_8_users_and_the_time_is_said_before_it_starts(self, here, runs):
        assert "8 users, about 56 calls" in self.run("--model", "some/model").output
        assert runs == [("quickstart-some-model-8-users.yaml", here)]

    def test_write_only_runs_nothing_and_says_how_to_go_on(self, here, runs):
        assert self.run("--write-only").output.splitlines()[-1] == "To run the job: drp-ray run quickstart.yaml"
        assert "cd 'a folder' && drp-ray run" in self.run("a folder", "--model", "m", "--write-only").output
        assert runs == []
        assert CliRunner().invoke(app, ["validate", JOB]).exit_code == 0

    def test_a_refusal_is_bad_input(self, here, runs):
        (here / JOB).write_text("name: mine\n")
        result = self.run()
        assert result.exit_code == 2
        assert result.stderr.startswith(f"drp-ray: {JOB}: ")
        assert (here / JOB).read_text() == "name: mine\n"
        assert runs == []
