"""The job files and the cluster they run on say what the papers and Ray ask for."""

from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import yaml

from drp_ray.config import Config, Role, load_config, read_settings
from drp_ray.methods.base import DIFFERENCES, METHODS, Asker

REPOSITORY = Path(__file__).parents[2]
JOBS = sorted((REPOSITORY / "jobs").glob("*.yaml"))
SWEEPS = sorted((REPOSITORY / "jobs" / "sweeps").glob("*.yaml"))
JUDGED = sorted((REPOSITORY / "jobs" / "judges").glob("*.yaml"))
PAPER_JOBS = ["yelp_drp", "yelp_dpl", "books_drp"]
DRP_JOBS = ["yelp_drp", "books_drp"]
WRITER = "Qwen/Qwen2.5-14B-Instruct"
REASONER = "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"
GPUS_OF_INSTANCE = {"p5.48xlarge": 8}


def job(name: str) -> Config:
    return load_config(REPOSITORY / "jobs" / f"{name}.yaml")


def roles_asked(config: Config) -> set[Role]:
    asked: set[Role] = set(METHODS[config.method].roles)
    if METHODS[config.method].needs.name == "differences":
        asked |= set(DIFFERENCES[config.method].roles)
    return asked


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_every_role_that_a_job_asks_has_a_model(path: Path) -> None:
    config = load_config(path)
    assert config.method in METHODS
    for role in roles_asked(config):
        assert config.model_of(role) in config.models


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_names_no_model_that_nothing_asks(path: Path) -> None:
    config = load_config(path)
    assert {config.model_of(role) for role in roles_asked(config)} == set(config.models)


def test_runs_have_names_of_their_own() -> None:
    names = [read_settings(path)["name"] for path in (*JOBS, *SWEEPS)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", PAPER_JOBS)
def test_a_paper_job_compares_as_published(name: str) -> None:
    config = job(name)
    assert (config.retrieval.n, config.selection.strategy, config.selection.k) == (8, "kmeans", 4)
    assert config.selection.seed == config.sampling.seed == 42
    assert config.selection.as_of == "none"
    assert set(config.differences.dimensions) == {"writing", "emotion", "semantic"}
    assert config.users.limit is None
    assert config.users.sample is None


@pytest.mark.parametrize("name", PAPER_JOBS)
def test_a_paper_job_samples_as_published(name: str) -> None:
    config = job(name)
    for role in get_args(Asker):
        sampling = config.sampling.of(role)
        assert (sampling.temperature, sampling.top_p) == (0.8, 0.95)
    for role in ("summarizer", "generator"):
        assert config.sampling.of(role).max_tokens == 2048
        assert config.models[config.model_of(role)].id == WRITER


@pytest.mark.parametrize("name", DRP_JOBS)
def test_drp_finds_differences_with_a_reasoning_model_and_room_to_think(name: str) -> None:
    config = job(name)
    assert config.differences.source == "validated"
    for role in ("extractor", "validator"):
        model = config.models[config.model_of(role)]
        assert model.id == REASONER
        assert model.system_prompt == "merge"
        assert config.sampling.of(role).max_tokens == 4096
        # Thinking that did not end is tried again with twice the budget, and the prompt needs its place too.
        assert model.max_model_len is not None
        assert model.max_model_len >= 4 * 4096


def test_dpl_uses_one_model_and_one_budget_in_every_role() -> None:
    config = job("yelp_dpl")
    assert {config.models[config.model_of(role)].id for role in roles_asked(config)} == {WRITER}
    assert {config.sampling.of(role).max_tokens for role in get_args(Asker)} == {2048}


@pytest.mark.parametrize("name", ["yelp_drp", "yelp_dpl"])
def test_yelp_is_searched_by_business_and_text(name: str) -> None:
    retrieval = job(name).retrieval
    assert retrieval.query == ("item_title",)
    assert retrieval.document == ("item_title", "review_text")


def test_books_are_searched_by_title_and_description() -> None:
    retrieval = job("books_drp").retrieval
    assert retrieval.query == retrieval.document == ("review_title", "item_description")


def test_the_yelp_jobs_share_all_that_comes_before_the_language_model() -> None:
    dpl, drp = job("yelp_dpl"), job("yelp_drp")
    for section in ("dataset", "root", "users", "retrieval", "selection", "embedding"):
        assert getattr(dpl, section) == getattr(drp, section)


@pytest.mark.parametrize("path", [*JOBS, *SWEEPS, *JUDGED], ids=lambda path: path.stem)
def test_vllm_knows_every_engine_argument(path: Path) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in fields(AsyncEngineArgs)}
    for model in read_settings(path)["models"].values():
        assert set(model.get("engine_args", {})) <= known


@pytest.mark.parametrize("name", PAPER_JOBS)
def test_a_paper_job_fills_the_gpus_of_the_cluster(name: str) -> None:
    gpus = gpus_of_cluster()
    config = job(name)
    assert config.embedding.replicas.max * config.embedding.num_gpus == gpus
    for model in config.models.values():
        assert model.replicas.max * model.gpus == gpus
    assert config.runtime.resources_wait_s >= 600


@pytest.mark.parametrize(
    ("name", "judge", "model", "samples"),
    [("s72b", "s72b", "Qwen/Qwen2.5-72B-Instruct-AWQ", 2), ("s_gpt", "gpt", "gpt-4o-mini", 5)],
)
def test_a_judge_asks_as_published(name: str, judge: str, model: str, samples: int) -> None:
    config = job(f"judges/books_drp_{name}")
    settings = config.evaluation.judge[judge]
    assert (settings.samples, settings.rubric, settings.expected) == (samples, "judge", False)
    assert settings.model is not None
    assert config.models[settings.model].id == model
    sampling = config.sampling.of("judge")
    assert (sampling.temperature, sampling.top_p) == (0.8, 0.95)


def test_the_large_judge_fills_the_gpus_of_the_cluster() -> None:
    model = job("judges/books_drp_s72b").models["s72b"]
    assert (model.tensor_parallel, model.replicas.max * model.gpus) == (2, gpus_of_cluster())


@pytest.mark.parametrize("path", JUDGED, ids=lambda path: path.stem)
def test_a_judged_job_is_the_plain_one_with_a_judge(path: Path) -> None:
    judged, plain = read_settings(path), read_settings(REPOSITORY / "jobs" / "books_drp.yaml")
    (judge,) = judged.pop("evaluation")["judge"].values()
    del judged["models"][judge["model"]], judged["sampling"]["judge"]
    assert judged == plain
    assert f"evaluate jobs/judges/{path.name}" in path.read_text()


def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster()))


def test_the_cluster_installs_the_requirements_that_it_mounts() -> None:
    config = cluster()
    mounted, local = next(iter(config["file_mounts"].items()))
    assert (REPOSITORY / local / "gpu.txt").is_file()
    assert any(f"-r {mounted}/gpu.txt" in command for command in config["setup_commands"])


@pytest.mark.parametrize("step", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_node_of_the_cluster_asks_for_the_token(step: str) -> None:
    assert any("RAY_AUTH_MODE=token" in command and "ray start" in command for command in cluster()[step])


def gpus_of_cluster() -> int:
    worker = cluster()["available_node_types"]["h100"]
    return worker["min_workers"] * GPUS_OF_INSTANCE[worker["node_config"]["InstanceType"]]


def cluster() -> dict:
    return yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())
