"""Every job file is accepted on data of the shape that it expects; sweeps make the published runs, sharing stages."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import drp_ray
from drp_ray.config import Config, read_settings
from drp_ray.data.sample import sample_dataset
from drp_ray.job.checks import claims_of, validate
from drp_ray.job.job import Job
from drp_ray.job.sweep import Sweep, forecast, open_sweep
from tests.job.test_jobs import JOBS, JUDGED, REASONER, REPOSITORY, SWEEPS, WRITER, gpus_of_cluster, roles_asked

N_USERS = 104
"""More than the 100 of a Yelp sample, so that samples differ."""

DPL_METHODS = ("nonperso", "rag", "intsum", "llm-trsr", "cicl", "persona-db", "dpl")
DPL_TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
DRP_TEMPERATURES = (0, 0.8)
BUCKET = "s3://YOUR-BUCKET"
FULL_YELP = ("users={}", "protocol=dpl+full")
FULL_YELP_DRP = ("users={}", "protocol=drp+full")

# For one set of users. Up to comparisons nothing depends on a method or a temperature. Contexts: nonperso, rag and
# intsum read the same; llm-trsr, cicl and persona-db something else each; dpl the differences of each temperature.
DPL_FOLDERS = {
    "users": 1,
    "retrieved": 1,
    "items": 1,
    "embeddings": 1,
    "comparisons": 1,
    "differences": 5,
    "peers": 2,
    "contexts": 9,
    "predictions": 35,
    "scores": 35,
}
# From the differences on, every temperature has its own.
DRP_FOLDERS = {
    "users": 1,
    "retrieved": 1,
    "items": 1,
    "embeddings": 1,
    "comparisons": 1,
    "differences": 2,
    "contexts": 2,
    "predictions": 2,
    "scores": 2,
}
# Eight extractors at two temperatures.
SIZES_FOLDERS = DRP_FOLDERS | {"differences": 16, "contexts": 16, "predictions": 16, "scores": 16}

EXPECTED = [
    ("amazon", (), 105, 3, DPL_FOLDERS),
    ("amazon_drp", (), 6, 3, DRP_FOLDERS),
    ("amazon_drp_sizes", (), 32, 2, SIZES_FOLDERS),
    ("yelp_samples", (), 175, 5, DPL_FOLDERS),
    ("yelp_samples", FULL_YELP, 35, 1, DPL_FOLDERS),
    ("yelp_samples_drp", (), 10, 5, DRP_FOLDERS),
    ("yelp_samples_drp", FULL_YELP_DRP, 2, 1, DRP_FOLDERS),
]
"""Of each sweep: how it is started, its runs, its sets of users, and the folders of one such set."""

IDS = [f"{name}{'-full' if overrides else ''}" for name, overrides, *_ in EXPECTED]


def without_titles(users: pa.Table) -> pa.Table:
    """Users none of whose reviews has a title."""
    rows = users.to_pylist()
    for row in rows:
        for review in (*row["profile"], row["target"]):
            review["title"] = None
    return pa.Table.from_pylist(rows, schema=users.schema)


def without_descriptions(items: pa.Table) -> pa.Table:
    """Items of which only the title is known."""
    column = items.schema.get_field_index("description")
    return items.set_column(column, "description", pa.nulls(items.num_rows, pa.string()))


def write_rows(folder: Path, rows: pa.Table) -> None:
    folder.mkdir(parents=True)
    pq.write_table(rows, folder / "part-00000.parquet")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a bucket would hold: datasets as the builder writes them, a split beside the items of all splits."""
    bucket = tmp_path_factory.mktemp("bucket")
    users, items = sample_dataset(N_USERS, seed=0)
    for name in ("books", "cds", "movies"):
        write_rows(bucket / "datasets" / name / "test" / "users", users)
        write_rows(bucket / "datasets" / name / "items", items)
    write_rows(bucket / "datasets/yelp/test/users", without_titles(users))
    write_rows(bucket / "datasets/yelp/items", without_descriptions(items))
    return bucket


@pytest.fixture(scope="module")
def in_bucket(bucket: Path) -> Callable[[Path], dict[str, Any]]:
    """The settings that let a job read and write in that folder instead of a bucket."""

    def settings(path: Path) -> dict[str, Any]:
        if path.stem == "quickstart":
            return {"dataset": str(bucket / "datasets/books/test"), "root": str(bucket / "drp")}
        places = json.dumps({key: read_settings(path)[key] for key in ("dataset", "root")})
        return json.loads(places.replace(BUCKET, str(bucket)))

    return settings


@pytest.fixture(scope="module")
def sweep(in_bucket: Callable[[Path], dict[str, Any]]) -> Callable[..., Sweep]:
    """Opens a shipped sweep, each once."""
    opened: dict[tuple[str, ...], Sweep] = {}

    def sweep(name: str, *overrides: str) -> Sweep:
        path = REPOSITORY / "jobs" / "sweeps" / f"{name}.yaml"
        if (name, *overrides) not in opened:
            opened[name, *overrides] = open_sweep(path, [*as_texts(in_bucket(path)), *overrides])
        return opened[name, *overrides]

    return sweep


@pytest.fixture(scope="module")
def plain(in_bucket: Callable[[Path], dict[str, Any]]) -> Callable[[str], Job]:
    """Opens a shipped job."""

    def plain(name: str) -> Job:
        path = REPOSITORY / "jobs" / f"{name}.yaml"
        return drp_ray.open(path, in_bucket(path))

    return plain


def as_texts(settings: dict[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def configs(sweep: Sweep) -> Iterator[Config]:
    for run in sweep.runs:
        yield run.job.config


def folders(sweep: Sweep) -> set[str]:
    return {info.folder.uri for run in sweep.runs for info in run.job.plan.stages.values()}


def header(name: str) -> str:
    return (REPOSITORY / "jobs" / "sweeps" / f"{name}.yaml").read_text().partition("\nname:")[0]


def test_the_expectations_are_of_all_sweeps() -> None:
    assert {name for name, *_ in EXPECTED} == {path.stem for path in SWEEPS}


@pytest.mark.parametrize("name", [path.stem for path in JOBS])
def test_a_plain_job_is_accepted(plain: Callable[[str], Job], name: str) -> None:
    assert plain(name).validate().endswith(f"{N_USERS} users; configuration and dataset are valid")


@pytest.mark.parametrize("name", [f"judges/{path.stem}" for path in JUDGED])
def test_a_judged_job_is_accepted_and_has_the_folders_of_the_plain_one(
    plain: Callable[[str], Job], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    job = plain(name)
    assert job.validate().endswith("valid")
    stages, without = job.opened.plan.stages, plain("books_drp").opened.plan.stages
    assert {each: stages[each] for each in without} == without
    (judgements,) = set(stages) - set(without)
    assert judgements.startswith("judgements-")


@pytest.mark.parametrize("name", [path.stem for path in SWEEPS])
def test_a_sweep_is_accepted_on_each_of_its_datasets(sweep: Callable[..., Sweep], name: str) -> None:
    datasets = {run.job.dataset.folder.uri: run.job for run in sweep(name).runs}
    for job in datasets.values():
        assert validate(job).endswith("valid")


@pytest.mark.parametrize(("name", "overrides", "n_runs", "n_sets", "of_one_set"), EXPECTED, ids=IDS)
def test_a_sweep_makes_so_many_runs_and_folders(
    sweep: Callable[..., Sweep], name: str, overrides: tuple[str, ...], n_runs: int, n_sets: int, of_one_set: dict
) -> None:
    opened = sweep(name, *overrides)
    stages = forecast(opened)
    assert len(opened.runs) == n_runs
    assert {stage.stage: stage.folders for stage in stages} == {
        stage: n_sets * count for stage, count in of_one_set.items()
    }
    assert sum(stage.to_make for stage in stages) == n_sets * sum(of_one_set.values())


@pytest.mark.parametrize(("name", "overrides", "n_runs", "n_sets", "of_one_set"), EXPECTED, ids=IDS)
def test_the_header_of_a_sweep_says_how_much_it_makes_and_how_to_start_it(
    name: str, overrides: tuple[str, ...], n_runs: int, n_sets: int, of_one_set: dict
) -> None:
    text = header(name)
    assert f"{n_runs} runs" in text
    assert f"{n_sets * sum(of_one_set.values())} folders" in text
    assert f"python -m drp_ray sweep jobs/sweeps/{name}.yaml" in text
    assert all(f"--set {override}" in text for override in overrides)


def test_runs_are_named_after_their_dataset(sweep: Callable[..., Sweep]) -> None:
    names = [config.name for config in configs(sweep("amazon_drp"))]
    assert names == [
        f"amazon-drp-{dataset}-test-temperature{temperature}"
        for dataset in ("books", "cds", "movies")
        for temperature in (0, 0.8)
    ]


@pytest.mark.parametrize("name", ["amazon", "yelp_samples"])
def test_dpl_and_the_baselines_run_at_the_five_published_temperatures(sweep: Callable[..., Sweep], name: str) -> None:
    runs = list(configs(sweep(name)))
    expected = {(method, temperature) for method in DPL_METHODS for temperature in DPL_TEMPERATURES}
    assert {(config.method, config.sampling.temperature) for config in runs} == expected
    for config in runs:
        assert {config.models[config.model_of(role)].id for role in roles_asked(config)} == {WRITER}
        assert {config.sampling.of(role).max_tokens for role in roles_asked(config)} == {2048}
        assert {config.sampling.of(role).temperature for role in roles_asked(config)} == {config.sampling.temperature}


@pytest.mark.parametrize("name", ["amazon_drp", "amazon_drp_sizes", "yelp_samples_drp"])
def test_drp_runs_at_the_two_published_temperatures_in_every_role(sweep: Callable[..., Sweep], name: str) -> None:
    runs = list(configs(sweep(name)))
    assert {config.method for config in runs} == {"drp"}
    assert {config.sampling.temperature for config in runs} == set(DRP_TEMPERATURES)
    for config in runs:
        assert {config.sampling.of(role).temperature for role in roles_asked(config)} == {config.sampling.temperature}
        assert config.differences.source == "validated"
        for role in ("extractor", "validator"):
            model = config.models[config.model_of(role)]
            assert model.system_prompt == "merge"
            assert config.sampling.of(role).max_tokens == 4096
            assert model.max_model_len == 32768
        for role in ("summarizer", "generator"):
            assert config.models[config.model_of(role)].id == WRITER
            assert config.sampling.of(role).max_tokens == 2048


@pytest.mark.parametrize("name", [path.stem for path in SWEEPS])
def test_a_sweep_compares_and_retrieves_as_published(sweep: Callable[..., Sweep], name: str) -> None:
    is_yelp = name.startswith("yelp")
    for config in configs(sweep(name)):
        assert (config.retrieval.n, config.selection.strategy, config.selection.k) == (8, "kmeans", 4)
        assert config.selection.as_of == "none"
        assert config.selection.seed == config.sampling.seed == 42
        assert config.sampling.top_p == 0.95
        assert config.retrieval.query == (("item_title",) if is_yelp else ("review_title", "item_description"))
        assert config.retrieval.document == (
            ("item_title", "review_text") if is_yelp else ("review_title", "item_description")
        )


def test_yelp_is_sampled_five_times_with_the_same_users_for_dpl_and_drp(sweep: Callable[..., Sweep]) -> None:
    for name in ("yelp_samples", "yelp_samples_drp"):
        samples = {(config.users.sample, config.users.seed) for config in configs(sweep(name))}
        assert samples == {(100, 0), (100, 1), (100, 2), (100, 3), (100, 4)}


def test_the_sizes_are_1_5b_to_32b_of_both_families(sweep: Callable[..., Sweep]) -> None:
    extractors = {config.models[config.model_of("extractor")].id for config in configs(sweep("amazon_drp_sizes"))}
    sizes = ("1.5B", "7B", "14B", "32B")
    assert extractors == {f"deepseek-ai/DeepSeek-R1-Distill-Qwen-{size}" for size in sizes} | {
        f"Qwen/Qwen2.5-{size}-Instruct" for size in sizes
    }
    assert REASONER in extractors


def test_the_sizes_begin_with_the_folders_of_amazon_drp(sweep: Callable[..., Sweep]) -> None:
    # For each of two datasets five up to comparisons, and four more at each of two temperatures with the same model.
    assert len(folders(sweep("amazon_drp_sizes")) & folders(sweep("amazon_drp"))) == 2 * (5 + 2 * 4)


@pytest.mark.parametrize(
    ("dpl", "drp", "n_sets"), [("amazon", "amazon_drp", 3), ("yelp_samples", "yelp_samples_drp", 5)]
)
def test_dpl_and_drp_share_all_that_comes_before_the_language_model(
    sweep: Callable[..., Sweep], dpl: str, drp: str, n_sets: int
) -> None:
    assert len(folders(sweep(dpl)) & folders(sweep(drp))) == 5 * n_sets


@pytest.mark.parametrize(
    ("name", "job", "overrides"),
    [
        ("amazon_drp", "books_drp", ()),
        ("yelp_samples", "yelp_dpl", FULL_YELP),
        ("yelp_samples_drp", "yelp_drp", FULL_YELP_DRP),
    ],
)
def test_a_plain_job_has_the_folders_of_a_run_of_the_sweep(
    sweep: Callable[..., Sweep], plain: Callable[[str], Job], name: str, job: str, overrides: tuple[str, ...]
) -> None:
    stages = plain(job).opened.plan.stages.values()
    assert {info.folder.uri for info in stages} <= folders(sweep(name, *overrides))


@pytest.mark.parametrize("name", [path.stem for path in SWEEPS])
def test_a_sweep_fills_the_gpus_of_the_cluster(sweep: Callable[..., Sweep], name: str) -> None:
    for run in sweep(name).runs:
        claims = claims_of(run.job, run.job.plan.stages)
        assert claims
        assert {claim.gpus for claim in claims.values()} == {gpus_of_cluster()}
        assert run.job.config.runtime.resources_wait_s >= 600


@pytest.mark.parametrize("path", [path for path in (*JOBS, *SWEEPS) if "drp" in path.stem], ids=lambda path: path.stem)
def test_what_deepseek_advises_stands_beside_the_temperature_and_can_be_set(
    in_bucket: Callable[[Path], dict[str, Any]], path: Path
) -> None:
    comment = re.search(r"^sampling:\n((?:  #.*\n)+)  temperature:", path.read_text(), re.MULTILINE)
    assert comment is not None
    assert "DeepSeek advises 0.6" in comment[1]
    advice = [word for word in shlex.split(comment[1].rpartition("#")[2]) if word != "--set"]
    for config in configs(open_sweep(path, [*as_texts(in_bucket(path)), *advice])):
        assert {config.sampling.of(role).temperature for role in ("extractor", "validator")} == {0.6}
        assert config.sampling.of("generator").temperature in DRP_TEMPERATURES
        assert config.models["reasoner"].system_prompt == "merge"
