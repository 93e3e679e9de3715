"""The command line. Heavy imports wait until a command needs them, so that `drp-ray --help` is quick."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from drp_ray.console import failures_reported, print_table, say, stopped_by_signals
from drp_ray.data.cli import data_app
from drp_ray.errors import EXIT_ERROR_ROWS, BadInput

if TYPE_CHECKING:
    from drp_ray.job.result import Result
    from drp_ray.job.run import Job
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
    """Run the command line; a failure that a person can act on is one line on standard error."""
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
    from drp_ray.job import run as job

    with failures_reported(), stopped_by_signals():
        opened = _open(config, overrides)
        result = job.run(opened, say, retry_errors, use_lease=not no_lease, until=until)
        if result is None:
            return
        _print_result(result)
        for advice in result.advice:
            say(advice)
        if result.error_rate > opened.config.runtime.max_error_rate:
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
    from drp_ray.job import run as job
    from drp_ray.job.sweep import forecast, open_sweep, write_comparison

    with failures_reported(), stopped_by_signals():
        opened = open_sweep(config, overrides)
        jobs = [run.job for run in opened.runs]
        _print_forecast(forecast(opened), [each.config.name for each in jobs])
        if dry_run:
            return
        results = job.run_all(jobs, say, retry_errors, use_lease=not no_lease)
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
    from drp_ray.job.status import status_of

    with failures_reported():
        table = Table("stage", "state", "parts", "rows", "errors", "tokens in", "cached", "out", "time")
        for line in status_of(_open(config, overrides)):
            table.add_row(
                line.stage,
                line.state,
                _of(line.parts_done, line.parts),
                _of(line.rows, line.rows_total),
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
    from drp_ray.errors import nearest

    with failures_reported():
        stages = _open(config, overrides).plan.stages
        if stage not in stages:
            raise BadInput(f"this job has no stage {stage!r}; {nearest(stage, stages)}")
        print(stages[stage].folder.uri)


@app.command()
def validate(config: ConfigFile, overrides: Overrides = []) -> None:  # noqa: B006
    """Check a job's configuration and dataset; nothing is started and nothing is written."""
    from drp_ray.job import run as job

    with failures_reported():
        say(job.validate(_open(config, overrides)))


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
    """Build the quickstart's language model: a random one of 1M parameters, whose text is noise."""
    from drp_ray.data.tiny_model import build_tiny_model

    with failures_reported():
        try:
            say(str(build_tiny_model(directory, seed)))
        except OSError as error:
            raise BadInput(f"{directory}: cannot be written: {error}") from error


def _open(config: Path, overrides: list[str]) -> "Job":
    from drp_ray.config import load_config
    from drp_ray.job.run import open_job

    return open_job(load_config(config, overrides))


def _of(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,}/{total:,}"


def _print_result(result: "Result") -> None:
    from drp_ray.job.result import coverage_lines

    scores = Table("metric", "value", "users scored", title=f"{result.metrics['run']} ({result.metrics['method']})")
    for name, value in result.metrics["metrics"].items():
        scores.add_row(name, _score(value), str(result.metrics["scored"][name]))
    print_table(scores)
    coverage = Table("coverage", "")
    for told, numbers in coverage_lines(result.metrics["coverage"]):
        coverage.add_row(told, numbers)
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
    table = Table("run", *metrics, title=comparison["sweep"])
    for row in comparison["runs"]:
        table.add_row(row["run"], *(_score(row["metrics"][name]) for name in metrics))
    print_table(table)
    if comparison["means"]:
        means = Table("mean over temperatures and seeds", "runs", *metrics)
        for row in comparison["means"]:
            told = ", ".join(f"{place}={value}" for place, value in row["choices"].items())
            means.add_row(told, str(row["runs"]), *(_score(row["metrics"][name]) for name in metrics))
        print_table(means)
    say(f"sweep        {comparison['folder']}")


def _score(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    main()
