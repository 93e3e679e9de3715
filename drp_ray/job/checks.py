"""What is checked before a job starts: its dataset, keys, models, and that the cluster is large enough."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray

from drp_ray.config import Embedding, Model, api_key, ray_address
from drp_ray.engines.base import ModelSpec
from drp_ray.engines.embedder import SENTENCE_TRANSFORMERS, warning_about
from drp_ray.errors import BadInput
from drp_ray.inputs.dataset_check import check_dataset
from drp_ray.inputs.leaks import LeakCounts
from drp_ray.job.model_check import problem_of, problems_found_meanwhile
from drp_ray.job.opened_job import OpenedJob
from drp_ray.running.blocks import start_ray_data
from drp_ray.running.cluster import Claim, Say, check_resources, connect, loss_told
from drp_ray.running.monitor import start_monitor
from drp_ray.running.stage_info import RunOptions
from drp_ray.running.survey import can_improve
from drp_ray.storage.parts import part_names, read_committed, read_manifest
from drp_ray.storage.versions import differing, versions

Checked = tuple[str, Model | Embedding]
"""A model that is to be loaded, after the word for it in messages."""


def validate(job: OpenedJob) -> str:
    """Check the dataset's content; says what was found.

    Raises:
        BadInput: it is not what the job needs.
    """
    check_api_keys(job, job.plan.stages)
    leaks = check_dataset(job.dataset, job.config.users.leaks)
    users = sum(group.rows for group in job.dataset.row_groups())
    lines = [f"{job.dataset.folder.uri}: {users:,} users; configuration and dataset are valid"]
    return "\n".join([*lines, *_leak_lines(job, leaks)])


def _leak_lines(job: OpenedJob, leaks: LeakCounts) -> list[str]:
    return [f"Leaks ({job.config.users.leaks}): {leaks}"] if leaks else []


@contextmanager
def prepared(
    jobs: Sequence[OpenedJob], names: Iterable[str], say: Say, retry_errors: bool, use_lease: bool
) -> Iterator[RunOptions]:
    """Check what the named stages of all jobs need, on the Ray that they are to run on; then they may start."""
    runtime = jobs[0].config.runtime
    names = set(names)
    for job in jobs:
        check_api_keys(job, names)
    left = {job.config.name: _stages_to_run(job, retry_errors) for job in jobs}
    models, embedders = _models(jobs, left, names, "vllm"), _embedders(jobs, left, names)
    # A Ray that starts here has no other machine: what its models are is found out while it starts.
    is_here = ray_address() is None and not ray.is_initialized()
    aside: list[Checked] = [*embedders, *models] if is_here else embedders
    with problems_found_meanwhile([model for _, model in aside]) as problems:
        _check_endpoints(_models(jobs, left, names, "openai"), say)
        _check_datasets(jobs, say)
        for note in dict.fromkeys(note for job in jobs for note in notes_on(job)):
            say(f"Note: {note}")
        with connect(runtime.num_cpus), loss_told():
            for job in jobs:
                check_resources(claims_of(job, names), runtime.resources_wait_s, say)
            _check_on_nodes([] if is_here else models)
            monitor = start_monitor()
            if aside:
                start_ray_data()
            for (name, _), problem in zip(aside, problems(), strict=True):
                _refuse(name, problem)
            yield RunOptions(runtime.heartbeat_s, runtime.lease_ttl_s if use_lease else None, retry_errors, monitor)


def check_api_keys(job: OpenedJob, names: Iterable[str]) -> None:
    """See that the variables with the keys of the endpoints that the named stages ask are set.

    Raises:
        BadInput: one is not.
    """
    for name, resources in job.plan.resources().items():
        for model in resources.models.values() if name in names else ():
            api_key(model)


def _check_datasets(jobs: Sequence[OpenedJob], say: Say) -> None:
    """Check each dataset once, unless its users were taken from it already under the same rule for leaks."""
    for job in {(job.dataset.folder.uri, job.config.users.leaks): job for job in jobs}.values():
        if read_manifest(job.plan.stages["users"].folder) is None:
            say(f"Checking the dataset {job.dataset.folder.uri}")
            for line in _leak_lines(job, check_dataset(job.dataset, job.config.users.leaks)):
                say(line)


def notes_on(job: OpenedJob) -> list[str]:
    """What a user should know of the models of a job before it runs."""
    notes = [
        warning
        for resources in job.plan.resources().values()
        if resources.embedder is not None and (warning := warning_about(resources.embedder))
    ]
    for name, model in job.plan.models().items():
        if (Path(model.id) / "tiny_model.json").is_file():
            notes.append(f"the model {name} is a tiny random one: its text is noise, only the machinery is real")
    needed = {model.id for model in job.plan.models().values()} | _embedder_ids(job)
    notes += [
        f"{name} is not pinned: the hub could not be asked for its commit. Give a revision, or results of another "
        "version of it may be continued."
        for name, commit in job.revisions.items()
        if commit is None and name in needed
    ]
    return [*notes, *_notes_on_versions(job)]


def _embedder_ids(job: OpenedJob) -> set[str]:
    return {each.embedder.model for each in job.plan.resources().values() if each.embedder is not None}


def _notes_on_versions(job: OpenedJob) -> list[str]:
    """Where the first or the last part of a stage was made with other versions than those here."""
    notes = []
    for name, info in job.plan.stages.items():
        names = part_names(info.folder)
        for part in read_committed(info.folder, {*names[:1], *names[-1:]}).values():
            if part.made_with and (others := differing(part.made_with, versions())):
                notes.append(f"parts of {name} were made with other versions: {'; '.join(others)}")
    return list(dict.fromkeys(notes))


def claims_of(job: OpenedJob, names: Iterable[str]) -> dict[str, Claim]:
    """What each of the named stages needs of the cluster to start, where it holds a model."""
    return {
        name: Claim(gpus=pool.fewest * pool.num_gpus, cpus=pool.fewest * pool.num_cpus)
        for name, resources in job.plan.resources().items()
        if name in names
        for pool in [resources.pool]
    }


def _stages_to_run(job: OpenedJob, retry_errors: bool) -> set[str]:
    """The stages that are not finished, or whose error rows are to be tried again."""
    manifests = job.manifests().items()
    return {
        name
        for name, manifest in manifests
        if manifest is None or not manifest.is_done or (retry_errors and can_improve(manifest.totals))
    }


def _embedders(jobs: Sequence[OpenedJob], left: Mapping[str, set[str]], names: set[str]) -> list[Checked]:
    """The embedding models that sentence-transformers is still to load, each once."""
    found = {
        str(resources.embedder): resources.embedder
        for job in jobs
        for name, resources in job.plan.resources().items()
        if resources.embedder is not None and name in left[job.config.name] & names
    }
    return [("embedding", settings) for settings in found.values() if settings.engine == SENTENCE_TRANSFORMERS]


def _models(
    jobs: Sequence[OpenedJob], left: Mapping[str, set[str]], names: set[str], engine: str
) -> list[tuple[str, Model]]:
    """The language models that are still to be asked by an engine, by name; each once."""
    found = {
        f"{name} {model!r}": (name, model)
        for job in jobs
        for stage, resources in job.plan.resources().items()
        if stage in left[job.config.name] & names
        for name, model in resources.models.items()
        if model.engine == engine
    }
    return list(found.values())


def _check_endpoints(models: Iterable[tuple[str, Model]], say: Say) -> None:
    """Ask every endpoint that the run will use for one token, so that a wrong key is found before anything is made.

    Raises:
        BadInput: one does not answer; the message is the endpoint's own.
    """
    for name, model in models:
        say(f"Asking {name} for one token ({model.id})")
        problem = _problem_of_endpoint(model)
        if problem is not None:
            raise BadInput(
                f"{name}: the endpoint does not answer a chat: {problem}. See models.{name}: id, base_url, api_key_env"
            )


def _problem_of_endpoint(model: Model) -> str | None:
    # Imported here: most jobs ask no endpoint.
    from drp_ray.engines.openai import problem_with as problem_of

    return problem_of(ModelSpec.of(model, api_key(model)))


def _check_on_nodes(models: Iterable[tuple[str, Model]]) -> None:
    """Let vLLM read the configuration of the models it is to load, on nodes where such models run.

    Raises:
        BadInput: one cannot be loaded; the message is the engine's own.
    """
    checks = [(name, ray.remote(num_cpus=1, num_gpus=model.gpus)(problem_of).remote(model)) for name, model in models]
    for name, check in checks:
        _refuse(name, ray.get(check))


def _refuse(name: str, problem: str | None) -> None:
    if problem is not None:
        raise BadInput(f"{name}: the model cannot be loaded: {problem}")
