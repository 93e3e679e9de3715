"""What a plan said a job would take, over what the job then took.

    python -m benchmarks.plan JOB.yaml [--plan FILE] [--set KEY=VALUE ...]

The job must have been run. `FILE` is what `drp-ray plan JOB.yaml --json FILE` wrote before the run; without it the plan
is made now, so that its lengths of replies are those of the run itself, and what is tested is the rest.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from drp_ray.job.job import Job
from drp_ray.planning.cost_plan import PlanOptions, plan_cost
from drp_ray.planning.shown import as_json

FACTS = {"prompt": "prompt_tokens", "cached": "cached_tokens", "output": "completion_tokens"}
"""The facts of a stage by the name that plans have for them."""


def main() -> None:
    """Print a line for every stage that is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--plan", type=Path, default=None)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    job = Job.open(arguments.job, overrides=arguments.overrides)
    text = as_json(plan_cost(job.opened, PlanOptions())) if arguments.plan is None else arguments.plan.read_text()
    planned = json.loads(text)["stages"]
    for name, manifest in job.opened.manifests().items():
        if name in planned and manifest is not None and manifest.totals:
            print(f"{name}: {compared(planned[name], manifest.totals)}")


def compared(planned: dict[str, Any], used: dict[str, float]) -> str:
    """Planned over used, for each kind of tokens."""
    ratios = {
        kind: f"{planned[kind]['value']:,.0f}/{used[fact]:,.0f} = {planned[kind]['value'] / used[fact]:.3f}"
        for kind, fact in FACTS.items()
        if used.get(fact)
    }
    return ", ".join(f"{kind} {ratio}" for kind, ratio in ratios.items())


if __name__ == "__main__":
    main()
