"""What bad input gets: a line that names the file, row or key, exit code 2, no model started and nothing written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from drp_ray import schema
from drp_ray.cli import app
from drp_ray.data.sample_files import write_sample
from drp_ray.storage.folder import LocalFolder

QUICKSTART = Path(__file__).parents[2] / "jobs" / "quickstart.yaml"


class Setup:
    """A job that would run, to be spoilt in one way."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.dataset, self.root = folder, folder / "data", folder / "results"
        write_sample(LocalFolder(self.dataset), 8, seed=2)
        self.settings = yaml.safe_load(QUICKSTART.read_text()) | {"dataset": str(self.dataset), "root": str(self.root)}
        self.settings["models"]["llm"]["id"] = str(model)

    def run(self, *arguments: str, verb: str = "run"):
        job = self.folder / "job.yaml"
        job.write_text(yaml.safe_dump(self.settings))
        return CliRunner().invoke(app, [verb, str(job), *arguments])

    def refused(self, *arguments: str, verb: str = "run") -> str:
        """Run; it must be refused. What was said."""
        result = self.run(*arguments, verb=verb)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("drp-ray: ") and "Traceback" not in result.output
        assert not self.root.exists(), "something was written"
        return result.stderr

    def change_users(self, change) -> None:
        """Write the users anew, as `change` returns them from rows."""
        file = self.dataset / "users" / "part-00000.parquet"
        rows = change(pq.read_table(file).to_pylist())
        pq.write_table(pa.Table.from_pylist(rows, schema.USERS), file)


@pytest.fixture
def setup(tmp_path, tiny_model) -> Setup:
    return Setup(tmp_path, tiny_model)


def test_a_missing_column_is_named(setup):
    file = setup.dataset / "users" / "part-00000.parquet"
    pq.write_table(pq.read_table(file).drop_columns("target"), file)
    said = setup.refused()
    assert "target" in said and file.name in said


def test_a_duplicate_user_is_named(setup):
    setup.change_users(lambda rows: [*rows, rows[0]])
    assert "'user-00000'" in setup.refused()


def test_an_item_that_the_catalogue_lacks_is_named(setup):
    def change(rows):
        rows[3]["target"]["item_id"] = "nowhere"
        return rows

    setup.change_users(change)
    said = setup.refused()
    assert "'nowhere'" in said and "user-00003" in said


def test_an_empty_dataset_is_refused(setup):
    setup.change_users(lambda rows: [])
    assert "no users" in setup.refused()


def test_no_dataset_is_refused(setup):
    setup.settings["dataset"] = str(setup.folder / "elsewhere")
    assert "elsewhere" in setup.refused()


def test_an_unknown_setting_names_the_nearest(setup):
    assert "did you mean n_init?" in setup.refused("--set", "selection.n_inti=3")


def test_a_contradiction_is_named(setup):
    assert "users.limit or users.sample" in setup.refused("--set", "users.limit=3", "--set", "users.sample=3")


def test_an_unknown_method_names_the_nearest(setup):
    assert "did you mean nonperso?" in setup.refused("--set", "method=nonpreso")


def test_a_bucket_that_does_not_exist_is_named(setup, s3_server, monkeypatch):
    options = s3_server.options
    monkeypatch.setenv("AWS_ENDPOINT_URL", options.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options.secret_key)
    monkeypatch.setenv("AWS_REGION", options.region)
    assert "there is no bucket 'not-there'" in setup.refused("--set", "root=s3://not-there/x")


def test_a_prompt_pack_without_a_template_is_refused(setup):
    (setup.folder / "pack").mkdir()
    assert "pack" in setup.refused("--set", f"prompts={setup.folder / 'pack'}")


@pytest.mark.parametrize(
    ("setting", "asked"),
    [("embedding.replicas=50", "embeddings needs 50 CPUs"), ("models.llm.num_gpus=3", "differences needs 3 GPUs")],
)
def test_more_than_the_cluster_has_is_refused_with_both_numbers(setup, ray_here, setting, asked):
    said = setup.refused("--set", setting)
    assert asked in said and "the cluster has" in said


def test_a_model_folder_that_is_none_is_refused_in_the_engines_words(setup, ray_here, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "no-such-thing"}')
    said = setup.refused("--set", f"models.llm.id={tmp_path / 'model'}")
    assert "llm: the model cannot be loaded" in said and "no-such-thing" in said


def test_an_embedding_model_that_is_none_is_refused_in_the_librarys_words(setup, ray_here, tmp_path):
    (tmp_path / "embedder").mkdir()
    (tmp_path / "embedder" / "config.json").write_text("{}")
    settings = {**setup.settings["embedding"], "model": str(tmp_path / "embedder")}
    setup.settings["embedding"] = {key: value for key, value in settings.items() if key != "sha256"}
    assert "embedding: the model cannot be loaded" in setup.refused()


def test_weights_that_are_not_the_named_ones_are_refused(setup):
    assert "sha256" in setup.refused("--set", f"embedding.sha256={'0' * 64}")


@pytest.mark.parametrize("verb", ["run", "validate", "sweep"])
def test_a_missing_api_key_is_named_before_anything_is_made(setup, verb):
    setup.settings["models"]["api"] = {"engine": "openai", "id": "m", "api_key_env": "NO_SUCH_KEY"}
    setup.settings["roles"] = dict.fromkeys(("extractor", "validator", "summarizer"), "llm") | {"generator": "api"}
    assert "NO_SUCH_KEY" in setup.refused(verb=verb)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("models.llm.chat_template_kwargs={date: 2024-07-26}", "chat_template_kwargs.date"),
        ("models.llm.engine_args.max_num_seqs=many", "engine_args.max_num_seqs"),
        ("selection.seed=-1", "selection.seed"),
        ("embedding.engine=minilm", "embedding.engine"),
        ("models={}", "models"),
    ],
)
def test_settings_that_would_fail_later_are_named_at_once(setup, setting, named):
    assert named in setup.refused("--set", setting)


def test_a_column_that_stands_twice_and_ids_that_are_no_text_are_named(setup):
    file = setup.dataset / "users" / "part-00000.parquet"
    users = pq.read_table(file)
    pq.write_table(users.append_column("user_id", users["user_id"]), file)
    assert "user_id occurs more than once" in setup.refused()
    ids = pa.array([b"\xff\xfe", *[b"u%d" % n for n in range(users.num_rows - 1)]]).cast(pa.string(), safe=False)
    pq.write_table(users.set_column(0, "user_id", ids), file)
    assert "not UTF-8" in setup.refused()


def test_validate_says_what_is_there_and_starts_nothing(setup):
    result = setup.run(verb="validate")
    assert result.exit_code == 0 and "8 users" in result.output
    assert not setup.root.exists()


def test_help_and_where_leave_the_heavy_libraries_alone(setup):
    import subprocess
    import sys

    setup.run(verb="validate")
    script = (
        "import sys; from typer.testing import CliRunner; from drp_ray.cli import app; "
        f"run = CliRunner().invoke(app, ['where', '{setup.folder / 'job.yaml'}', 'scores']); "
        "assert run.exit_code == 0, run.output; "
        "print(sorted({'torch', 'vllm', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
