"""What a report says of a run beside its users: error reasons, and what its stages cost."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from drp_ray.job.finished import FinishedRun
from drp_ray.storage.parts import Facts, Manifest
from drp_ray.viewer.document import reason
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
    """What every stage took, from its manifest."""
    return tuple(_cost(stage, manifest) for stage, manifest in run.manifests.items())


def _cost(stage: str, manifest: Manifest) -> StageCost:
    totals = manifest.totals or {}
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
    )


def _speed(facts: Facts) -> float:
    tokens = facts.get("prompt_tokens", 0) + facts.get("completion_tokens", 0)
    return round(tokens / facts["seconds"], 1) if facts.get("seconds") else 0.0
