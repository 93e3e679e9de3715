"""Where reports are written: by `drp-ray report`, and at the end of `run` and `sweep`."""

from collections.abc import Sequence
from pathlib import Path

from drp_ray.config import s3_options
from drp_ray.errors import BadInput
from drp_ray.job.finished import RunGroup, finished_run, groups_of_sweep, is_job_file, open_groups
from drp_ray.job.opened_job import OpenedJob
from drp_ray.job.sweep import Sweep, open_sweep
from drp_ray.storage.folder import Folder, open_folder
from drp_ray.viewer.report import REPORT, ReportOptions, write_into


def report_of_run(job: OpenedJob, *beside: OpenedJob) -> str:
    """Write the report of a run, with others beside it, into its folder; returns its address."""
    runs = [finished_run(each) for each in (job, *beside)]
    return write_into([RunGroup(run.name, (run,)) for run in runs], job.run_folder, REPORT, ReportOptions())


def report_of_sweep(sweep: Sweep) -> str:
    """Write one report of all runs of a sweep where its comparison is; returns its address."""
    return write_into(groups_of_sweep(sweep), _sweep_folder(sweep), REPORT, ReportOptions())


def report_of(given: Sequence[str], overrides: Sequence[str], out: str | None, options: ReportOptions) -> str:
    """Write the report of the runs that job files and folders name; returns its address.

    Without `out` the report of one run, or of the sweep of one job file, is in its folder.

    Raises:
        BadInput: a run is not there or not finished, `out` is no HTML file, or several runs were given without it.
    """
    folder, name = _target(given, overrides, out)
    return write_into(open_groups(given, overrides), folder, name, options)


def _target(given: Sequence[str], overrides: Sequence[str], out: str | None) -> tuple[Folder, str]:
    if out is not None:
        place, _, name = out.rpartition("/")
        if not name.endswith((".html", ".htm")):
            raise BadInput(f"--out {out}: name an HTML file (NAME.html)")
        return open_folder(place or ("/" if out.startswith("/") else "."), s3_options()), name
    if len(given) > 1:
        raise BadInput("say with --out FILE.html where the report of several runs is to be written")
    if not is_job_file(given[0]):
        return open_folder(given[0], s3_options()), REPORT
    sweep = open_sweep(Path(given[0]), overrides)
    return (sweep.runs[0].job.run_folder if len(sweep.runs) == 1 else _sweep_folder(sweep)), REPORT


def _sweep_folder(sweep: Sweep) -> Folder:
    return sweep.runs[0].job.root.at("sweeps", sweep.name)
