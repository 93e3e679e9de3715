"""How far a job is, read from storage alone: it needs no cluster and disturbs no running job."""

from dataclasses import dataclass

from drp_ray.job.opened_job import OpenedJob
from drp_ray.running.survey import is_current
from drp_ray.storage.parts import Facts, Manifest, add_up, read_committed


@dataclass(frozen=True)
class StageStatus:
    """One line of the status table. Totals are None where they are not known yet."""

    stage: str
    state: str
    parts_done: int
    parts: int | None
    rows: int
    errors: int
    rows_total: int | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    wall_s: float


def status_of(job: OpenedJob) -> list[StageStatus]:
    """The status of every stage, in order."""
    manifests = job.manifests()
    return [_status(job, name, manifest, is_current(manifest, manifests)) for name, manifest in manifests.items()]


def _status(job: OpenedJob, name: str, manifest: Manifest | None, current: bool) -> StageStatus:
    if manifest is None:
        return StageStatus(name, "waiting", 0, None, 0, 0, None, 0, 0, 0, 0.0)
    done = _facts_of_done_parts(job, manifest, current)
    facts = add_up(done)
    state = "done" if current else "damaged" if manifest.damage else "unfinished"
    return StageStatus(
        name,
        state,
        len(done),
        len(manifest.parts),
        int(facts.get("rows", 0)),
        int(facts.get("errors", 0)),
        sum(part.rows for part in manifest.parts),
        int(facts.get("prompt_tokens", 0)),
        int(facts.get("cached_tokens", 0)),
        int(facts.get("completion_tokens", 0)),
        manifest.wall_s,
    )


def _facts_of_done_parts(job: OpenedJob, manifest: Manifest, current: bool) -> list[Facts]:
    if current:
        return [part.facts for part in manifest.parts]
    committed = read_committed(job.plan.stages[manifest.stage].folder, (part.name for part in manifest.parts))
    return [part.facts for part in committed.values()]
