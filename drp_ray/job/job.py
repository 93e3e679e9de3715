"""A job to run, watch and read: what notebooks use, and the command line too."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from drp_ray.config import checked, protocol_of, read_settings, with_judges
from drp_ray.errors import BadInput, nearest
from drp_ray.job.checks import validate
from drp_ray.job.error_rows import EXAMPLES, StageErrors, errors_of
from drp_ray.job.opened_job import OpenedJob, open_job
from drp_ray.job.protocols import single_execution
from drp_ray.job.result import METRICS_FILE, Result
from drp_ray.job.run import evaluate, run
from drp_ray.job.status import StageStatus, status_of
from drp_ray.running.cluster import Say
from drp_ray.storage.folder import Folder
from drp_ray.storage.parts import read_rows, read_whole_manifest

if TYPE_CHECKING:
    import datasets


class Job:
    """An opened job. `drp_ray.open` makes one; nothing is written before `run`."""

    def __init__(self, opened: OpenedJob) -> None:
        self.opened = opened
        self.config = opened.config

    @classmethod
    def open(
        cls,
        file: str | Path,
        settings: Mapping[str, Any] | None = None,
        overrides: Iterable[str] = (),
        judges: Mapping[str, Any] | None = None,
    ) -> "Job":
        """Open the job of a YAML file.

        Args:
            file: the job's file; paths in it start at the current folder.
            settings: values that replace those of the file, by key (`{"sampling.temperature": 0}`).
            overrides: the same as texts `key=value`, whose values are YAML.
            judges: settings of judges by name, added to those of the file.

        Raises:
            BadInput: the file, the dataset or something that the configuration names is not there or is wrong, or
                its protocol has several executions.
        """
        path = Path(file)
        raw = with_judges(read_settings(path, overrides, settings), judges or {})
        alone = single_execution(raw, protocol_of(raw, str(path)))
        return cls(open_job(checked(alone, str(path))))

    def run(
        self, retry_errors: bool = False, until: str | None = None, use_lease: bool = True, say: Say = print
    ) -> Result | None:
        """Run the job, or what is left of it, on the Ray of this process, of `RAY_ADDRESS`, or one started for it.

        Args:
            retry_errors: compute error rows again, and what follows from them.
            until: stop when this stage is complete; there is no result then.
            use_lease: refuse to work where another job does.
            say: gets the lines that the command line prints.

        Raises:
            BadInput: before anything was written.
            JobFailed: what was committed stays; the same call continues.
        """
        return run(self.opened, say, retry_errors, use_lease, until)

    def evaluate(self, retry_errors: bool = False, use_lease: bool = True, say: Say = print) -> Result:
        """Add judges, controls, feature keys and missing scores to a finished run; nothing else is made again.

        Raises:
            BadInput: the run has not all of its predictions; nothing was written.
            JobFailed: what was committed stays; the same call continues.
        """
        return evaluate(self.opened, say, retry_errors, use_lease)

    def validate(self) -> str:
        """Check the dataset's content; nothing is started or written.

        Raises:
            BadInput: the dataset is not what the job needs, or the key of an endpoint is missing.
        """
        return validate(self.opened)

    def status(self) -> list[StageStatus]:
        """How far every stage is, in order, read from storage alone."""
        return status_of(self.opened)

    def errors(self, examples: int = EXAMPLES) -> list[StageErrors]:
        """The error rows of every stage that asks language models, by reason, read from storage alone."""
        return errors_of(self.opened, examples)

    def folder(self, stage: str) -> Folder:
        """The folder of a stage.

        Raises:
            BadInput: the job has no such stage.
        """
        stages = self.opened.plan.stages
        if stage not in stages:
            raise BadInput(f"this job has no stage {stage!r}; {nearest(stage, stages)}")
        return stages[stage].folder

    def table(self, stage: str) -> pa.Table:
        """The rows of a complete stage, with the columns that `drp_ray.schema` names.

        Raises:
            BadInput: the job has no such stage, or it is not complete.
        """
        folder = self.folder(stage)
        manifest = read_whole_manifest(folder)
        if manifest is None or not manifest.is_done:
            raise BadInput(f"{folder.uri}: {stage} is not complete yet; run the job first")
        return read_rows(folder)

    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` says of the finished run.

        Raises:
            BadInput: the run has no result yet.
        """
        folder = self.opened.run_folder
        try:
            found: dict[str, Any] = json.loads(folder.read(METRICS_FILE))
        except FileNotFoundError as error:
            raise BadInput(f"{folder.uri}: the run has no {METRICS_FILE} yet; run the job first") from error
        return found

    def predictions(self) -> pa.Table:
        """The rows of `predictions`: a user, what was written for them, and the reference."""
        return self.table("predictions")

    def predictions_dataset(self) -> "datasets.Dataset":
        """The predictions as a `datasets.Dataset`."""
        # Imported here: datasets takes a second, which the command line need not pay.
        import datasets

        return datasets.Dataset(self.predictions())
