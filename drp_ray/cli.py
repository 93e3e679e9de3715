"""The command line. Heavy imports wait until a command needs them, so that `drp-ray --help` is quick."""

import sys
from collections.abc import Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column

from drp_ray.console import Table, failures_reported, print_table, say, show_table, stopped_by_signals
from drp_ray.data.cli import data_app
from drp_ray.errors import EXIT_ERROR_ROWS, EXIT_FAILED, BadInput, CannotWrite

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

FinishedRuns = Annotated[
    list[str], typer.Argument(help="Job files that were run, or folders of runs (also s3://…).", metavar="RUN…")
]
ProtocolName = Annotated[
    str | None,
    typer.Option("--protocol", metavar="NAME", help="dpl, drp, yelp-100x5, full, or two joined by +."),
]
MixedProtocols = Annotated[
    bool, typer.Option("--mixed-protocols", help="Let results of different protocols stand together, marked.")
]


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
    if result is not None:
        _show(job, result)
    elif any(line.errors > job.config.runtime.max_error_rate * line.rows for line in job.status()):
        raise typer.Exit(EXIT_ERROR_ROWS)


def _show(job: "Job", result: "Result") -> None:
    """Print a result; the exit code says whether too many rows are error rows."""
    _print_result(result)
    _finish(job, result)


def _finish(job: "Job", result: "Result", *beside: "Job") -> None:
    """Write the report and say what to do next; the exit code says whether too many rows are error rows."""
    if job.config.report:
        from drp_ray.viewer.command import report_of_run

        try:
            say(f"report {report_of_run(job.opened, *(each.opened for each in beside))}")
        except CannotWrite as error:
            say(f"Note: no report was written: {error}")
    for advice in result.advice:
        say(advice)
    if result.error_rate > job.config.runtime.max_error_rate:
        raise typer.Exit(EXIT_ERROR_ROWS)


@app.command()
def evaluate(
    config: ConfigFile,
    judges: Annotated[
        list[str],
        typer.Option("--judge", metavar="NAME[={…}]", help="Add a judge, e.g. --judge 'gpt={samples: 5, model: gpt}'."),
    ] = [],  # noqa: B006
    overrides: Overrides = [],  # noqa: B006
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Ask again what failed or could not be read.")
    ] = False,
    no_lease: Annotated[
        bool, typer.Option("--no-lease", help="Do not look whether another job works on the same stages.")
    ] = False,
) -> None:
    """Add judges, controls, feature keys and missing scores to a finished run; nothing else is made again."""
    from drp_ray.config import judge_option
    from drp_ray.job.job import Job

    with failures_reported(), stopped_by_signals():
        job = Job.open(config, overrides=overrides, judges=dict(map(judge_option, judges)))
        _show(job, job.evaluate(retry_errors, not no_lease, say))


@app.command()
def sweep(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Compute error rows again.")] = False,
    no_lease: Annotated[
        bool, typer.Option("--no-lease", help="Do not look whether another job works on the same stages.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be made.")] = False,
    protocol: ProtocolName = None,
) -> None:
    """Run every combination of a job whose settings are lists; what combinations share is made once."""
    from drp_ray.job.run import run_all
    from drp_ray.job.sweep import forecast, open_sweep, write_comparison

    with failures_reported(), stopped_by_signals():
        opened = open_sweep(config, [*overrides, *([f"protocol={protocol}"] if protocol is not None else [])])
        jobs = [run.job for run in opened.runs]
        _print_forecast(forecast(opened), [each.config.name for each in jobs])
        if dry_run:
            return
        results = run_all(jobs, say, retry_errors, use_lease=not no_lease)
        _print_comparison(write_comparison(opened, results))
        if all(job.config.report for job in jobs):
            from drp_ray.viewer.command import report_of_sweep

            say(f"report {report_of_sweep(opened)}")
        for advice in dict.fromkeys(advice for result in results for advice in result.advice):
            say(advice)
        too_many = [
            result.error_rate > each.config.runtime.max_error_rate for each, result in zip(jobs, results, strict=True)
        ]
        if any(too_many):
            raise typer.Exit(EXIT_ERROR_ROWS)


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(help="Job files, or folders of runs; the first is compared with each.", metavar="RUN..."),
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", dir_okay=False, help="Write all numbers there as JSON.")
    ] = None,
    protocol: ProtocolName = None,
    mixed_protocols: MixedProtocols = False,
    overrides: Overrides = [],  # noqa: B006
    draws: Annotated[int, typer.Option(min=1, help="Draws of the bootstrap, and random swaps of the test.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="The seed of draws and swaps.")] = 0,
) -> None:
    """Compare finished runs on the users that all have: differences with intervals and tests; nothing is started."""
    from drp_ray.evaluation.statistics import Resampling
    from drp_ray.job.compare import as_json, read_runs
    from drp_ray.job.compare import compare as compare_runs
    from drp_ray.job.compare_tables import lines_of, tables_of
    from drp_ray.job.finished import open_groups
    from drp_ray.job.protocols import check_protocol_asked

    with failures_reported():
        as_protocol = [f"protocol={protocol}"] if protocol is not None else []
        groups = open_groups(runs, [*overrides, *as_protocol])
        if protocol is not None:
            check_protocol_asked({group.name: group.protocol for group in groups}, protocol, mixed_protocols)
        document = compare_runs(read_runs(groups, mixed_protocols), Resampling(draws, seed))
        for table in tables_of(document):
            print_table(table)
        for line in lines_of(document):
            say(line)
        _write_json(json_file, as_json(document))


@app.command()
def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Job files (.yaml) or folders of runs, local or s3://….")
    ],
    out: Annotated[str | None, typer.Option(metavar="FILE", help="The HTML file to write, local or s3://….")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Hold the texts of at most so many users.")] = 2000,
    seed: Annotated[int, typer.Option(help="The seed of the sample.")] = 0,
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave out every review text; keep the numbers.")] = False,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Write one HTML file with the results of runs and every user to look into."""
    from drp_ray.viewer.command import report_of
    from drp_ray.viewer.report import ReportOptions

    with failures_reported():
        say(report_of(runs, overrides, out, ReportOptions(sample, seed, not no_text)))


@app.command()
def status(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    watch: Annotated[bool, typer.Option("--watch", help="Look again until every stage is done, or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often to look with --watch.")] = 10,
) -> None:
    """Say how far every stage of a job is, read from storage alone."""
    from drp_ray.job.budget import budget_line
    from drp_ray.job.waves import budget_of

    with failures_reported(), stopped_by_signals():
        job = _open(config, overrides)

        def look() -> tuple[Table, bool]:
            nonlocal job
            if watch:  # with a budget its stages are those of the wave that it has come to
                job = _open(config, overrides)
            return _status_table(job)

        show_table(look, every if watch else None)
        budget = budget_of(job.opened)
        if budget is not None:
            say(budget_line(budget))


def _status_table(job: "Job") -> tuple[Table, bool]:
    """The stages of a job, and whether all are done and no wave may follow."""
    from drp_ray.job.waves import may_go_on
    from drp_ray.running.progress import done_of

    table = Table("stage", "state", "parts", "rows", "errors", "tokens in", "cached", "out", "time")
    lines = job.status()
    for line in lines:
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
    return table, all(line.state == "done" for line in lines) and not may_go_on(job.opened)


@app.command()
def errors(
    config: ConfigFile,
    examples: Annotated[int, typer.Option(min=0, help="Rows to name for each reason.")] = 3,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """List the error rows of a job by reason, with counts and examples; exit code 3 where there are too many."""
    from drp_ray.job.error_rows import lines_of

    with failures_reported():
        job = _open(config, overrides)
        stages = job.errors(examples)
        for line in lines_of(stages):
            say(line)
        if any(stage.rate > job.config.runtime.max_error_rate for stage in stages):
            raise typer.Exit(EXIT_ERROR_ROWS)


@app.command()
def verify(
    config: ConfigFile,
    deep: Annotated[bool, typer.Option("--deep", help="Read every row and compare its digest.")] = False,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """See that every file of a job is what was committed, and name what is damaged; drp-ray run makes that again."""
    from drp_ray.job.verify import remedy, verify

    with failures_reported():
        job = _open(config, overrides)
        found = verify(job.opened, deep)
        for damage in found:
            say(str(damage))
        if found:
            say(f"{len(found):,} damaged files: {remedy(found)}")
            raise typer.Exit(EXIT_FAILED)
        say(f"{job.opened.root.uri}: all that the job has made is whole")


@app.command()
def correlations(runs: FinishedRuns, overrides: Overrides = []) -> None:  # noqa: B006
    """Print how alike the metrics of each finished run order its users (Spearman's rank correlation)."""
    from drp_ray.job.finished import executions_of, open_groups

    with failures_reported():
        for each in executions_of(open_groups(runs, overrides)):
            found = each.metrics["rank_correlations"]
            columns = [Column("", no_wrap=True), *(Column(name, overflow="fold") for name in found)]
            table = Table(*columns, title=f"{each.name}: rank correlations over users")
            for name, row in found.items():
                table.add_row(name, *("" if value is None else f"{value:.2f}" for value in row.values()))
            print_table(table)


@app.command()
def forget(
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="Whom to remove.")],
    root: Annotated[str, typer.Option(metavar="FOLDER", help="A job's `root`, also s3://…; all datasets in it.")],
    no_lease: Annotated[
        bool, typer.Option("--no-lease", help="Do not look whether a job works on the stages.")
    ] = False,
) -> None:
    """Remove a person from every stage of every run under a root; what is left stays fit for use.

    Where the environment has the key of pseudonyms, their pseudonym is removed as well. Take them out of the dataset
    too: this command does not touch it.
    """
    from drp_ray.config import Runtime, has_pseudonym_key, pseudonym_key, s3_options
    from drp_ray.inputs.pseudonyms import pseudonym
    from drp_ray.job.forget import forget, result_again
    from drp_ray.storage.folder import check_reachable, open_folder

    with failures_reported(), stopped_by_signals():
        folder = open_folder(root, s3_options())
        check_reachable(folder)
        ttl_s = None if no_lease else Runtime().lease_ttl_s
        names = [user_id, *([pseudonym(pseudonym_key(), user_id)] if has_pseudonym_key() else [])]
        for dataset, found in forget(folder, names, ttl_s, say, partial(result_again, say=say)).items():
            rows, parts = sum(found.rows.values()), sum(found.parts.values())
            done = f"{rows:,} rows removed, {parts:,} parts written again" if parts else "nothing to remove"
            say(f"{dataset}: {done}")


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
def plan(
    config: ConfigFile,
    overrides: Overrides = [],  # noqa: B006
    sample: Annotated[int, typer.Option(min=2, metavar="USERS", help="Users whose prompts are made.")] = 50,
    seed: Annotated[int, typer.Option(help="The seed of this sample.")] = 0,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Start the models and measure them for two minutes.")
    ] = False,
    reply_tokens: Annotated[
        list[str], typer.Option("--reply-tokens", metavar="ROLE=N", help="The mean length of a role's replies.")
    ] = [],  # noqa: B006
    tokens_per_second: Annotated[
        list[str],
        typer.Option("--tokens-per-second", metavar="[MODEL=]N", help="What a replica does, as you know it."),
    ] = [],  # noqa: B006
    usd_per_gpu_hour: Annotated[float | None, typer.Option(min=0, metavar="USD", help="The price of a GPU.")] = None,
    usd_per_million_tokens: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="IN OUT", help="The prices of endpoints; models.NAME.usd_per_million_tokens has others."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", dir_okay=False, help="Write all numbers there as JSON.")
    ] = None,
) -> None:
    """Say what a job will ask of its models, how long that takes and what it costs; nothing is made."""
    from drp_ray.planning.cost_plan import PlanOptions, plan_cost
    from drp_ray.planning.costs import Prices
    from drp_ray.planning.shown import as_json, cost_table, notes_on

    with failures_reported(), stopped_by_signals():
        prices = Prices(usd_per_gpu_hour, usd_per_million_tokens)
        options = PlanOptions(sample, seed, calibrate, reply_tokens, tokens_per_second, prices)
        found = plan_cost(_open(config, overrides).opened, options, say)
        print_table(cost_table(found))
        for line in notes_on(found):
            say(line)
        _write_json(json_file, as_json(found).encode())


@app.command()
def export(
    runs: FinishedRuns,
    form: Annotated[str, typer.Option("--format", metavar="FORM", help="csv, parquet, latex or hf.")],
    out: Annotated[
        str | None, typer.Option(metavar="PATH", help="A file (or folder, for hf); the run's name if not given.")
    ] = None,
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave predictions and references out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    for_spreadsheets: Annotated[
        bool, typer.Option("--for-spreadsheets", help="csv: an apostrophe before texts that look like formulas.")
    ] = False,
    mixed_protocols: MixedProtocols = False,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Write the predictions and scores of a finished run as a table, or the metrics of several as LaTeX."""
    from drp_ray.job.export import ExportOptions, export
    from drp_ray.job.finished import open_groups

    with failures_reported():
        options = ExportOptions(not no_text, force, for_spreadsheets, mixed_protocols)
        say(export(open_groups(runs, overrides), form, out, options))


@app.command()
def analyse(
    runs: FinishedRuns,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there (docs/analyses.md).")
    ] = None,
    mixed_protocols: MixedProtocols = False,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Explain the scores of finished runs: by uniqueness, N, K, profile, rating, length and unique features."""
    from drp_ray.job.analyse import analyse, as_json
    from drp_ray.job.analysis_tables import missing_lines, tables_of
    from drp_ray.job.finished import open_groups

    with failures_reported():
        found = analyse(open_groups(runs, overrides), mixed_protocols)
        for table in tables_of(found):
            print_table(table)
        for line in missing_lines(found):
            say(line)
        _write_json(json_file, as_json(found).encode())


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
    _finish(job, result, beside)


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


def _write_json(file: Path | None, content: bytes) -> None:
    """Write what `--json` asks for, where it does."""
    if file is None:
        return
    try:
        file.write_bytes(content)
    except OSError as error:
        raise BadInput(f"--json {file}: cannot be written: {error}") from error


def _open(config: Path, overrides: list[str]) -> "Job":
    from drp_ray.job.job import Job

    return Job.open(config, overrides=overrides)


def _print_result(result: "Result") -> None:
    from drp_ray.job.coverage import coverage_lines
    from drp_ray.job.score_lines import score_lines

    metrics = result.metrics
    has_controls, has_failures = "controls" in metrics, bool(metrics["failed_users"])
    columns = ["metric", "value", "users scored"]
    if has_controls:
        columns = ["metric", "floor: another's review", "value", "ceiling: the real review", "users scored"]
    if has_failures:
        columns.append(f"{metrics['failed_users']:,} failed users scored as an empty text")
    scores = Table(*columns, title=f"{metrics['run']} ({metrics['method']})")
    for line in score_lines(metrics):
        values = [line.floor, line.value, line.ceiling] if has_controls else [line.value]
        empty = [_score(line.as_empty, "not scored")] if has_failures else []
        scores.add_row(line.metric, *map(_score, values), str(line.users), *empty)
    print_table(scores)
    if has_controls:
        say(
            f"Author identification by chance: {metrics['author_identification']['chance']:.2f}; see docs/evaluation.md"
        )
    _print_by_method(f"{metrics['run']}, by method", metrics["method"], metrics["by_method"])
    if "budget" in metrics:
        from drp_ray.job.budget import budget_line

        say(budget_line(metrics["budget"]))
    coverage = Table("coverage", "")
    for what, numbers in coverage_lines(result.metrics["coverage"]):
        coverage.add_row(what, numbers)
    print_table(coverage)
    width = max(map(len, result.folders))
    for name, folder in result.folders.items():
        say(f"{name:<{width}} {folder}")


def _print_forecast(stages: "Sequence[StageForecast]", names: Sequence[str]) -> None:
    say(f"{len(names)} runs: {', '.join(names)}")
    table = Table("stage", "used by runs", "folders", "there", "to be made")
    for stage in stages:
        table.add_row(stage.stage, str(stage.runs), str(stage.folders), str(stage.there), str(stage.to_make))
    print_table(table)


def _print_comparison(comparison: dict[str, Any]) -> None:
    from drp_ray.job.sweep import shown_measures

    metrics = shown_measures(name for row in comparison["runs"] for name in row["metrics"])
    compared = shown_measures(comparison["runs"][0]["with_failures_as_empty"])
    protocol = f" (protocol {comparison['protocol']})" if comparison["protocol"] else ""
    title = f"{comparison['sweep']}{protocol}: users who are ok in every run that predicts for them"
    table = Table("run", *metrics, "n", "failed", "lost", title=title)
    whole = Table("run", *compared, "n", title="all users, a failed one scored as an empty text")
    for row in comparison["runs"]:
        users = (f"{row[name]:,}" for name in ("n", "failed", "lost"))
        table.add_row(row["run"], *(_score(row["metrics"].get(name)) for name in metrics), *users)
        empty = row["with_failures_as_empty"]
        whole.add_row(row["run"], *(_score(empty[name]) for name in compared), f"{row['users']:,}")
    print_table(table)
    for name in metrics:
        fewer = {row["scored"][name] for row in comparison["runs"] if 0 < row["scored"].get(name, 0) < row["n"]}
        if fewer:
            counts = (f"{n:,}" for n in sorted(fewer))
            say(f"{name} is over {', '.join(counts)} users: the others have no value in some run")
    if any(row["failed"] for row in comparison["runs"]):
        print_table(whole)
    if comparison["means"]:
        means = Table(f"mean over {', '.join(comparison['averaged_over'])}", "runs", *metrics, "n a run")
        for row in comparison["means"]:
            choices = ", ".join(f"{place}={value}" for place, value in row["choices"].items())
            numbers = (_score(row["metrics"].get(name)) for name in metrics)
            means.add_row(choices, str(row["runs"]), *numbers, ", ".join(f"{n:,}" for n in sorted(set(row["n"]))))
            if row["published"]:
                reported = (_published(row["published"], name) for name in metrics)
                means.add_row(f"published: {row['published']['source']}", "", *reported, "")
        print_table(means)
    for row in comparison["runs"]:
        _print_by_method(row["run"], row["method"], row["by_method"])
    say(f"sweep  {comparison['folder']}")


def _print_by_method(title: str, method: str, by_method: dict[str, Any]) -> None:
    """The scores by the method that really ran, where that is not the configured one for all users."""
    if set(by_method) <= {method}:
        return
    metrics = list(next(iter(by_method.values()))["metrics"])
    table = Table("method that ran", *metrics, "n", title=title)
    for method, numbers in by_method.items():
        table.add_row(method, *(_score(numbers["metrics"][name]) for name in metrics), f"{numbers['n']:,}")
    print_table(table)


def _published(row: dict[str, Any], metric: str) -> str:
    value = row["metrics"].get(metric)
    return "" if value is None else f"{value:.4f}"


def _score(value: float | None, absent: str = "missing") -> str:
    return absent if value is None else f"{value:.4f}"


if __name__ == "__main__":
    main()
