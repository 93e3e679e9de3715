"""The command line. Heavy imports wait until a command needs them, so that `drp-ray --help` is quick."""

import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from drp_ray.console import failures_reported, print_table, say, stopped_by_signals
from drp_ray.data.cli import data_app
from drp_ray.errors import EXIT_ERROR_ROWS, BadInput

if TYPE_CHECKING:
    from drp_ray.job.job import Job
    from drp_ray.job.result import Result
    from drp_ray.job.sweep import StageForecast

app = typer.Typer(
    help="Difference-aware LLM personalization (DPL, DRP) as a resumable offline inference job on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
ConfigFile = Annotated[
    Path,
    typer.Argument(help="The job's YAML file; paths in it start at the current folder.", metavar="CONFIG"),
]
Overrides = Annotated[list[str], typer.Option("--set", help="Override a setting, e.g. --set sampling.temperature=0.")]


def main() -> None:
    """Run the command line; a failure that a person can act on is one line on standard error.

    A job may name methods, engines and embedders of modules in the current folder, as `python -m drp_ray` would.
    """
    if "" not in sys.path:
        sys.path.append("")
    app()


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006 (typer reads the default, nobody changes it)
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Compute error rows again.")] = False,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Stop when this stage is complete.")] = None,
    no_lease: Annotated[
        bool, typer.Option("--no-lease", help="Do not look whether another job works on the same stages.")
    ] = False,
) -> None:
    """Run a job, or what is left of it."""
    with failures_reported(), stopped_by_signals():
        _run(_open(config, overrides), retry_errors, until, use_lease=not no_lease)


def _run(job: "Job", retry_errors: bool = False, until: str | None = None, use_lease: bool = True) -> None:
    result = job.run(retry_errors, until, use_lease, say)
    if result is None:
        return
    _print_result(result)
    for advice in result.advice:
        say(advice)
    if result.error_rate > job.config.runtime.max_error_rate:
        raise typer.Exit(EXIT_ERROR_ROWS)


@app.command()
def sweep(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Compute error rows again.")] = False,
    no_lease: Annotated[
        bool, typer.Option("--no-lease", help="Do not look whether another job works on the same stages.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be made.")] = False,
) -> None:
    """Run every combination of a job whose settings are lists; what combinations share is made once."""
    from drp_ray.job.run import run_all
    from drp_ray.job.sweep import forecast, open_sweep, write_comparison

    with failures_reported(), stopped_by_signals():
        opened = open_sweep(config, overrides)
        jobs = [run.job for run in opened.runs]
        _print_forecast(forecast(opened), [each.config.name for each in jobs])
        if dry_run:
            return
        results = run_all(jobs, say, retry_errors, use_lease=not no_lease)
        _print_comparison(write_comparison(opened, results))
        for advice in dict.fromkeys(advice for result in results for advice in result.advice):
            say(advice)
        too_many = [
            result.error_rate > each.config.runtime.max_error_rate for each, result in zip(jobs, results, strict=True)
        ]
        if any(too_many):
            raise typer.Exit(EXIT_ERROR_ROWS)


@app.command()
def status(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """Say how far every stage of a job is."""
    from drp_ray.running.progress import done_of

    with failures_reported():
        table = Table("stage", "state", "parts", "rows", "errors", "tokens in", "cached", "out", "time")
        for line in _open(config, overrides).status():
            table.add_row(
                line.stage,
                line.state,
                done_of(line.parts_done, line.parts),
                done_of(line.rows, line.rows_total),
                f"{line.errors:,}",
                f"{line.prompt_tokens:,}",
                f"{line.cached_tokens:,}",
                f"{line.completion_tokens:,}",
                f"{line.wall_s:,.1f} s",
            )
        print_table(table)


@app.command()
def where(config: ConfigFile, stage: str, overrides: Overrides = []) -> None:  # noqa: B006
    """Print the folder of a stage, and nothing else."""
    with failures_reported():
        print(_open(config, overrides).folder(stage).uri)


@app.command()
def validate(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """Check a job's configuration and dataset; nothing is started and nothing is written."""
    with failures_reported():
        say(_open(config, overrides).validate())


@app.command()
def quickstart(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", file_okay=False, help="Where to write and to run; made if need be.")
    ] = Path(),
    users: Annotated[int | None, typer.Option(min=1, help="How many users to generate (48; 8 with --model).")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="ID", help="A real model: a hub id, a folder, or package:NAME.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server that serves --model.")
    ] = None,
    write_only: Annotated[bool, typer.Option("--write-only", help="Write the files; do not run the job.")] = False,
) -> None:
    """Write a job and its sample, run it (no GPU) beside nonperso, and tell one user's story; given again, continue."""
    from drp_ray.data.quickstart import USERS, USERS_OF_REAL_MODEL, Quickstart, write_quickstart

    if users is None:
        users = USERS if model is None else USERS_OF_REAL_MODEL
    with failures_reported(), stopped_by_signals():
        files = Quickstart(directory, users, model, endpoint)
        write_quickstart(files, say)
        if write_only:
            say(f"To run the job: {files.run_command}")
            return
        if files.forecast is not None:
            say(files.forecast)
        with chdir(directory):
            _run_quickstart(files.job_file.name)


def _run_quickstart(file: str) -> None:
    """Run the job, and the same for nonperso; print the scores of both and one user's story."""
    from drp_ray.job.quickstart import BESIDE, run_beside, told

    job = _open(Path(file), [])
    beside = _open(Path(file), [f"method={BESIDE}", f"name={job.config.name}-{BESIDE}"])
    result, scores = run_beside(job, beside, say)
    _print_result(result)
    table = Table("metric", *scores.methods, title=f"on the same {scores.n:,} users")
    for metric, values in scores.values.items():
        table.add_row(metric, *(_score(value) for value in values))
    print_table(table)
    for line in told(job, beside):
        say(line)
    for advice in result.advice:
        say(advice)
    if result.error_rate > job.config.runtime.max_error_rate:
        raise typer.Exit(EXIT_ERROR_ROWS)


@app.command()
def sample(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A folder or s3://BUCKET/PREFIX.")],
    users: Annotated[int, typer.Option(min=1, help="How many users.")] = 48,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write the embedded dataset: generated users with ways of writing of their own."""
    from drp_ray.config import s3_options
    from drp_ray.data.sample_files import write_sample
    from drp_ray.storage.folder import check_reachable, open_folder

    with failures_reported():
        folder = open_folder(directory, s3_options())
        check_reachable(folder)
        write_sample(folder, users, seed)
        say(f"{folder.uri}: {users:,} users")


@app.command()
def tiny_model(directory: Annotated[Path, typer.Argument(metavar="DIR")], seed: int = 0) -> None:
    """Build a random language model of 1M parameters, whose text is noise, to try the machinery with."""
    from drp_ray.data.tiny_model import build_tiny_model

    with failures_reported():
        try:
            say(str(build_tiny_model(directory, seed)))
        except OSError as error:
            raise BadInput(f"{directory}: cannot be written: {error}") from error


def _open(config: Path, overrides: list[str]) -> "Job":
    from drp_ray.job.job import Job

    return Job.open(config, overrides=overrides)


def _print_result(result: "Result") -> None:
    from drp_ray.job.result import coverage_lines

    metrics = result.metrics
    columns = ["metric", "value", "users scored"]
    if metrics["failed_users"]:
        columns.append(f"{metrics['failed_users']:,} failed users scored as an empty text")
    scores = Table(*columns, title=f"{metrics['run']} ({metrics['method']})")
    for name, value in metrics["metrics"].items():
        empty = [_score(metrics["with_failures_as_empty"][name])] if metrics["failed_users"] else []
        scores.add_row(name, _score(value), str(metrics["scored"][name]), *empty)
    print_table(scores)
    _print_by_method(f"{metrics['run']}, by method", metrics["method"], metrics["by_method"])
    coverage = Table("coverage", "")
    for what, numbers in coverage_lines(result.metrics["coverage"]):
        coverage.add_row(what, numbers)
    print_table(coverage)
    for name, folder in result.folders.items():
        say(f"{name:<12} {folder}")


def _print_forecast(stages: "Sequence[StageForecast]", names: Sequence[str]) -> None:
    say(f"{len(names)} runs: {', '.join(names)}")
    table = Table("stage", "used by runs", "folders", "there", "to be made")
    for stage in stages:
        table.add_row(stage.stage, str(stage.runs), str(stage.folders), str(stage.there), str(stage.to_make))
    print_table(table)


def _print_comparison(comparison: dict[str, Any]) -> None:
    metrics = list(comparison["runs"][0]["metrics"])
    title = f"{comparison['sweep']}: users who are ok in every run that predicts for them"
    table = Table("run", *metrics, "n", "failed", "lost", title=title)
    whole = Table("run", *metrics, "n", title="all users, a failed one scored as an empty text")
    for row in comparison["runs"]:
        counts = (f"{row[name]:,}" for name in ("n", "failed", "lost"))
        table.add_row(row["run"], *(_score(row["metrics"][name]) for name in metrics), *counts)
        empty = row["with_failures_as_empty"]
        whole.add_row(row["run"], *(_score(empty[name]) for name in metrics), f"{row['users']:,}")
    print_table(table)
    if any(row["failed"] for row in comparison["runs"]):
        print_table(whole)
    if comparison["means"]:
        means = Table(f"mean over {', '.join(comparison['averaged_over'])}", "runs", *metrics, "n a run")
        for row in comparison["means"]:
            choices = ", ".join(f"{place}={value}" for place, value in row["choices"].items())
            numbers = (_score(row["metrics"][name]) for name in metrics)
            means.add_row(choices, str(row["runs"]), *numbers, ", ".join(f"{n:,}" for n in sorted(set(row["n"]))))
        print_table(means)
    for row in comparison["runs"]:
        _print_by_method(row["run"], row["method"], row["by_method"])
    say(f"sweep        {comparison['folder']}")


def _print_by_method(title: str, method: str, by_method: dict[str, Any]) -> None:
    """The scores by the method that really ran, where that is not the configured one for all users."""
    if set(by_method) <= {method}:
        return
    metrics = list(next(iter(by_method.values()))["metrics"])
    table = Table("method that ran", *metrics, "n", title=title)
    for method, numbers in by_method.items():
        table.add_row(method, *(_score(numbers["metrics"][name]) for name in metrics), f"{numbers['n']:,}")
    print_table(table)


def _score(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    main()
