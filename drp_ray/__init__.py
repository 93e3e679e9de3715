"""Difference-aware LLM personalization (DPL, DRP) as a resumable offline inference job on Ray.

>>> import drp_ray
>>> job = drp_ray.open("quickstart.yaml", {"name": "first"})
>>> result = job.run()
>>> predictions = job.predictions()

A method, metric, engine, embedder or selection strategy of your own starts from what `drp_ray.methods`,
`drp_ray.evaluation`, `drp_ray.engines` and `drp_ray.stages.strategies` export.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drp_ray.errors import BadInput, JobFailed

if TYPE_CHECKING:
    from drp_ray.job.job import Job

__all__ = ["BadInput", "JobFailed", "open"]
__version__ = "0.1.0"


def open(file: str | Path, settings: Mapping[str, Any] | None = None) -> "Job":
    """Open the job of a YAML file; `settings` replace values of the file by key (`{"sampling.temperature": 0}`).

    Raises:
        BadInput: the file, the dataset or something that the configuration names is not there or is wrong.
    """
    # Imported here: a job needs Ray, which `import drp_ray` need not load.
    from drp_ray.job.job import Job

    return Job.open(file, settings)
