"""What a report says of a run beside its users: error reasons, and what its stages cost."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from drp_ray.job.finished import FinishedRun
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import Facts, Manifest
from drp_ray.viewer.document import reason
from drp_ray.viewer.timeline import PartTime, Timeline, timeline
from drp_ray.viewer.user_table import UserTable, read_user_table

ASKING = ("differences", "predictions")
"""The stages whose rows tell why they failed."""


@dataclass(frozen=True)
class StageCost:
    """What a stage took: rows, error rows, tokens, and seconds from its start to its end."""

    stage: str
    rows: int
    errors: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    thinking_tokens: int
    wall_s: float
    tokens_per_second: tuple[float, ...]
    """Of each part, in the order of the parts."""
    over_time: Timeline | None
    """Of all parts together; None where it is not known when they were made."""

    @property
    def asks(self) -> bool:
        """Whether a language model answered in it."""
        return self.prompt_tokens > 0


@dataclass(frozen=True)
class RunFacts:
    """A run, its users' numbers, how often rows failed for which reason, and what its stages cost."""

    run: FinishedRun
    users: UserTable
    errors: Mapping[tuple[str, str], int]
    costs: tuple[StageCost, ...]


def read_facts(run: FinishedRun, with_texts: bool) -> RunFacts:
    """Read what the report says of a run; without texts a reason is only the kind of error."""
    return RunFacts(run, read_user_table(run), error_reasons(run, with_texts), stage_costs(run))


def error_reasons(run: FinishedRun, with_texts: bool) -> dict[tuple[str, str], int]:
    """How many rows of a stage failed for a reason, the most frequent first. Stages without errors are not read."""
    counts: Counter[tuple[str, str]] = Counter()
    for stage in ASKING:
        if stage not in run.manifests or not (run.manifests[stage].totals or {}).get("errors"):
            continue
        for part in run.parts(stage, ["status", "error"]):
            failed = part.filter(pc.equal(part["status"], "error"))["error"].to_pylist()
            counts.update((stage, (why or "") if with_texts else reason(why or "")) for why in failed)
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def stage_costs(run: FinishedRun) -> tuple[StageCost, ...]:
    """What every stage took, from its manifest and the times of its files."""
    return tuple(_cost(stage, manifest, run.stages[stage]) for stage, manifest in run.manifests.items())


def _cost(stage: str, manifest: Manifest, folder: Folder) -> StageCost:
    totals = manifest.totals or {}
    asks = bool(totals.get("prompt_tokens"))
    return StageCost(
        stage=stage,
        rows=int(totals.get("rows", 0)),
        errors=int(totals.get("errors", 0)),
        prompt_tokens=int(totals.get("prompt_tokens", 0)),
        cached_tokens=int(totals.get("cached_tokens", 0)),
        completion_tokens=int(totals.get("completion_tokens", 0)),
        thinking_tokens=int(totals.get("thinking_tokens", 0)),
        wall_s=manifest.wall_s,
        tokens_per_second=tuple(_speed(part.facts) for part in manifest.parts),
        over_time=timeline(_part_times(manifest, folder), manifest.wall_s) if asks else None,
    )


def _part_times(manifest: Manifest, folder: Folder) -> list[PartTime]:
    """The parts, earliest first; those whose files are not there any more are left out."""
    written = {entry.name: entry.written_s for entry in folder.entries()}
    times = [
        PartTime(ended, part.facts.get("seconds", 0.0), _tokens(part.facts))
        for part in manifest.parts
        if (ended := written.get(part.name)) is not None
    ]
    return sorted(times, key=lambda part: (part.ended_s, part.seconds, part.tokens))


def _tokens(facts: Facts) -> float:
    return facts.get("prompt_tokens", 0) + facts.get("completion_tokens", 0)


def _speed(facts: Facts) -> float:
    return round(_tokens(facts) / facts["seconds"], 1) if facts.get("seconds") else 0.0
