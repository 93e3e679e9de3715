"""A job from its configuration to its result: open, check, plan, run the stages in order, report."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drp_ray.config import Config, Model, api_key, cache_folder, s3_options
from drp_ray.errors import BadInput, JobFailed, nearest
from drp_ray.inputs.dataset import Dataset, check_dataset
from drp_ray.job.plan import Plan, make_plan
from drp_ray.job.result import Result, report
from drp_ray.job.run_record import check_run_name, write_run
from drp_ray.running.cluster import begin_embedder_check, check_models, check_resources, connect
from drp_ray.running.part_stage import Options, can_improve, is_current
from drp_ray.running.progress import start_monitor
from drp_ray.stages.build import StageBuilder, models_of, pool_of, run_stage
from drp_ray.stages.embedder import warning_about
from drp_ray.storage.folder import Folder, check_reachable, open_folder
from drp_ray.storage.parts import Manifest, read_manifest

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A configuration with what it names: its dataset, its plan and the folder of all that is made of the dataset."""

    config: Config
    dataset: Dataset
    plan: Plan
    root: Folder

    @property
    def run_folder(self) -> Folder:
        """Where the run's record and its result are."""
        return self.root.at("runs", self.config.name)

    @property
    def wordnet(self) -> Path:
        """Where METEOR's dictionary is kept."""
        return cache_folder(self.config.runtime) / "wordnet-3.0"

    def manifests(self) -> dict[str, Manifest | None]:
        """The manifest of every stage, in order."""
        return {name: read_manifest(info.folder) for name, info in self.plan.stages.items()}

    def current_manifests(self, names: Iterable[str]) -> dict[str, Manifest] | None:
        """The manifests of the named stages, if all are done and made from what their inputs hold now."""
        manifests = self.manifests()
        current = {name: found for name in names if is_current(found := manifests[name], manifests) and found}
        return current if len(current) == len(list(names)) else None


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
    return Job(config, dataset, plan, root.at(dataset.name))


def validate(job: Job) -> str:
    """Check the dataset's content; says what was found.

    Raises:
        BadInput: it is not what the job needs.
    """
    _check_api_keys(job)
    check_dataset(job.dataset)
    users = sum(group.rows for group in job.dataset.row_groups())
    return f"{job.dataset.folder.uri}: {users:,} users; configuration and dataset are valid"


def run(
    job: Job, say: Say, retry_errors: bool = False, use_lease: bool = True, until: str | None = None
) -> Result | None:
    """Run what is not there yet; the whole job has a result, a job that ends with the stage `until` has none.

    Raises:
        BadInput: before anything was written.
        JobFailed: what was committed stays; the same call continues.
    """
    wanted = _stages_until(job, until)
    check_run_name(job.run_folder, job.config, job.plan)
    if _is_complete(job, wanted, retry_errors):
        say("Nothing to do: every stage is complete.")
    else:
        with _prepared([job], wanted, say, retry_errors, use_lease) as options:
            _run_stages(job, wanted, say, options, Shared())
    return _result(job, wanted) if until is None else None


def run_all(jobs: Sequence[Job], say: Say, retry_errors: bool = False, use_lease: bool = True) -> list[Result]:
    """Run several jobs one after the other on one Ray; what they share is made once.

    All are checked before the first one starts.

    Raises:
        BadInput: before anything was written.
        JobFailed: as `run`.
    """
    for job in jobs:
        check_run_name(job.run_folder, job.config, job.plan)
    unfinished = [job for job in jobs if not _is_complete(job, job.plan.stages, retry_errors)]
    if not unfinished:
        say("Nothing to do: every stage of every run is complete.")
    else:
        shared = Shared()
        stages = {name for job in unfinished for name in job.plan.stages}
        with _prepared(unfinished, stages, say, retry_errors, use_lease) as options:
            for job in unfinished:
                say(f"Run {job.config.name}")
                _run_stages(job, job.plan.stages, say, options, shared)
                _result(job, job.plan.stages)
    return [_result(job, job.plan.stages) for job in jobs]


def _is_complete(job: Job, names: Iterable[str], retry_errors: bool) -> bool:
    manifests = job.current_manifests(names)
    if manifests is None:
        return False
    return not (retry_errors and any(can_improve(manifest.totals) for manifest in manifests.values()))


def _result(job: Job, names: Iterable[str]) -> Result:
    manifests = job.current_manifests(names)
    if manifests is None:
        raise JobFailed("the inputs changed while the job ran; the same command continues")
    return report(job.config, job.plan, job.run_folder, manifests, job.wordnet)


def _check_api_keys(job: Job) -> None:
    for name in models_of(job.config, job.plan.roles()):
        api_key(job.config.models[name])


def _stages_until(job: Job, until: str | None) -> list[str]:
    names = list(job.plan.stages)
    if until is None:
        return names
    if until not in names:
        raise BadInput(f"this job has no stage {until!r}; {nearest(until, names)}")
    return names[: names.index(until) + 1]


@contextmanager
def _prepared(
    jobs: Sequence[Job], names: Iterable[str], say: Say, retry_errors: bool, use_lease: bool
) -> Iterator[Options]:
    """Check what the named stages of all jobs need, on the Ray that they are to run on; then they may start."""
    runtime, names = jobs[0].config.runtime, set(names)
    for job in jobs:
        _check_api_keys(job)
    for dataset in {job.dataset.folder.uri: job for job in jobs}.values():
        if read_manifest(dataset.plan.stages["users"].folder) is None:
            say(f"Checking the dataset {dataset.dataset.folder.uri}")
            check_dataset(dataset.dataset)
    for warning in dict.fromkeys(warning for job in jobs for warning in _warnings(job)):
        say(f"Note: {warning}")
    wanted = [(job, [name for name in job.plan.stages if name in names and not _is_done(job, name)]) for job in jobs]
    embeddings = {str(job.config.embedding): job.config.embedding for job, left in wanted if "embeddings" in left}
    embedders_checked = [begin_embedder_check(settings) for settings in embeddings.values()]
    with connect(runtime.num_cpus):
        for job in jobs:
            check_resources(needs_of(job, names & job.plan.stages.keys()), runtime.resources_wait_s, say)
        loaded = [pair for job, left in wanted for pair in _models_of(job, left).items()]
        check_models({repr(pair): pair for pair in loaded}.values())
        for embedder_checked in embedders_checked:
            embedder_checked()
        lease_ttl_s = runtime.lease_ttl_s if use_lease else None
        yield Options(runtime.heartbeat_s, lease_ttl_s, retry_errors, start_monitor())


@dataclass
class Shared:
    """What the jobs of one process leave to the next: catalogues by dataset, and the folders that were seen to."""

    catalogues: dict[str, Any] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


def _run_stages(job: Job, names: Iterable[str], say: Say, options: Options, shared: Shared) -> None:
    write_run(job.run_folder, job.config, job.plan)
    builder = StageBuilder(job.config, job.plan, job.dataset, job.wordnet, shared.catalogues)
    for name in names:
        uri = job.plan.stages[name].folder.uri
        is_new = uri not in shared.folders
        # Error rows of a stage that several jobs share are tried again once, not once a job.
        manifest = run_stage(builder.build(name), replace(options, retry_errors=options.retry_errors and is_new))
        if is_new:
            say(_stage_line(name, manifest))
            shared.folders.add(uri)


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
            found.append(f"the model {name} is a tiny random one: its text is noise, only the machinery is real")
    return [warning for warning in found if warning]


def needs_of(job: Job, names: Iterable[str]) -> dict[str, tuple[float, float]]:
    """GPUs and CPUs that each of the named stages holds at once, where it holds a model."""
    needs = {}
    for name in names:
        if name == "embeddings":
            settings = job.config.embedding
            needs[name] = (settings.replicas * settings.num_gpus, float(settings.replicas))
        elif programme := job.plan.programmes.get(name):
            pool = pool_of([job.config.models[model] for model in models_of(job.config, programme.roles)], job.config)
            needs[name] = (pool.replicas * pool.num_gpus, pool.replicas * pool.num_cpus)
    return needs


def _models_of(job: Job, names: Iterable[str]) -> dict[str, Model]:
    """The language models that the named stages load."""
    roles = {role for name in names if name in job.plan.programmes for role in job.plan.programmes[name].roles}
    return {model: job.config.models[model] for model in models_of(job.config, roles)}


def _is_done(job: Job, name: str) -> bool:
    manifest = read_manifest(job.plan.stages[name].folder)
    return manifest is not None and manifest.is_done
