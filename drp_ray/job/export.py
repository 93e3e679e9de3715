"""Writes the predictions and scores of finished runs in the forms that other programs read. No Ray is started."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from drp_ray.config import cache_folder, s3_options
from drp_ray.errors import BadInput, nearest
from drp_ray.evaluation.metrics.base import open_metrics
from drp_ray.evaluation.user_scores import FROM_PREDICTIONS
from drp_ray.job.compare import common_means, read_group
from drp_ray.job.finished import FinishedRun, RunGroup
from drp_ray.job.latex import TableRow, latex_table
from drp_ray.job.protocols import check_same_protocol
from drp_ray.storage.folder import Folder, check_reachable, open_folder

Form = Literal["csv", "parquet", "latex", "hf"]
FORMS: tuple[Form, ...] = get_args(Form)
ENDINGS: Mapping[Form, str] = {"csv": ".csv", "parquet": ".parquet", "latex": ".tex", "hf": ".hf"}

ABOUT = ("user_id", "item_id", "method", "status")
TEXTS = ("prediction", "reference")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that spreadsheet programs may take for a formula."""


@dataclass(frozen=True)
class ExportOptions:
    """How to export: with or without texts, over what is there, for spreadsheets, rows of several protocols."""

    texts: bool = True
    force: bool = False
    for_spreadsheets: bool = False
    mixed_protocols: bool = False


def export(groups: Sequence[RunGroup], form: str, out: str | None, options: ExportOptions) -> str:
    """Write runs in a form; says where to.

    Raises:
        BadInput: there is no such form, the file is there already, or results of several protocols would stand
            together in a table.
    """
    if form not in FORMS:
        raise BadInput(f"--format {form}: {nearest(form, FORMS)}")
    if options.for_spreadsheets and form != "csv":
        raise BadInput("--for-spreadsheets is about --format csv; leave it out")
    place = out or f"{groups[0].name}{ENDINGS[form]}"
    if form == "hf":
        return _write_folder(place, user_rows(groups, options.texts), options.force)
    return _write_file(place, _bytes_of(groups, form, options), options.force)


def _bytes_of(groups: Sequence[RunGroup], form: Form, options: ExportOptions) -> bytes:
    if form == "latex":
        return metrics_table(groups, options.mixed_protocols).encode()
    rows = user_rows(groups, options.texts)
    return _csv(rows, options.for_spreadsheets) if form == "csv" else _parquet(rows)


def user_rows(groups: Sequence[RunGroup], texts: bool) -> pa.Table:
    """One row a user, in the order of user ids: `ABOUT`, the texts, all columns of scores.

    The rows of several runs follow each other, and a first column `run` names them.
    """
    runs = [run for group in groups for run in group.executions]
    if len(runs) == 1:
        return _rows_of(runs[0], texts)
    tables = [
        table.add_column(0, "run", pa.array([run.name] * len(table), pa.string()))
        for run in runs
        for table in [_rows_of(run, texts)]
    ]
    return pa.concat_tables(tables, promote_options="default")


def _rows_of(run: FinishedRun, texts: bool) -> pa.Table:
    wanted = [*ABOUT, *(TEXTS if texts else ())]
    rows = run.rows("predictions", wanted).select(wanted).sort_by("user_id")
    scores = run.scores.table
    for name in scores.column_names:
        if name not in FROM_PREDICTIONS:
            rows = rows.append_column(scores.schema.field(name), scores[name])
    return rows


def _csv(rows: pa.Table, for_spreadsheets: bool) -> bytes:
    """Texts in quotes, nothing between the commas for null; line ends and quotes inside texts are kept."""
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(guarded(rows) if for_spreadsheets else rows, sink)
    return bytes(sink.getvalue())


def guarded(rows: pa.Table) -> pa.Table:
    """Put an apostrophe before every text that a spreadsheet program may take for a formula."""
    for place, column in enumerate(rows.schema):
        if pa.types.is_string(column.type):
            texts = rows[column.name]
            starts = [pc.starts_with(texts, start) for start in FORMULA_STARTS]
            risky = starts[0]
            for other in starts[1:]:
                risky = pc.or_(risky, other)
            safe = pc.if_else(risky, pc.binary_join_element_wise("'", texts, ""), texts)
            rows = rows.set_column(place, column, safe)
    return rows


def _parquet(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    return bytes(sink.getvalue())


def metrics_table(groups: Sequence[RunGroup], mixed_protocols: bool) -> str:
    """The metrics of every result over the users of all results, as `compare` has them, as LaTeX.

    A result with several executions has their mean.

    Raises:
        BadInput: the results have no user in common, or were to write other texts; or they are of several protocols,
            and that was not asked for.
    """
    is_mixed = check_same_protocol({group.name: group.protocol for group in groups}, mixed_protocols)
    _check_signatures(groups)
    metrics = open_metrics(groups[0].config.evaluation, cache_folder(groups[0].config.runtime))
    n, found = common_means([read_group(group, group.name, with_failures=False) for group in groups], metrics)
    rows = [
        TableRow(
            group.name, group.config.method, [found[each.name].means[group.name] for each in metrics], group.protocol
        )
        for group in groups
    ]
    scored = {each.title: found[each.name].n for each in metrics if found[each.name].n}
    return latex_table([each.title for each in metrics], rows, _caption(groups, n, scored, is_mixed), is_mixed)


def _check_signatures(groups: Sequence[RunGroup]) -> None:
    """Numbers stand in one table only where they are computed alike."""
    runs = [run for group in groups for run in group.executions]
    for run in runs[1:]:
        if differing := sorted(set(run.metric_signatures.items()) ^ set(runs[0].metric_signatures.items())):
            raise BadInput(
                f"runs {runs[0].name} and {run.name}: {differing[0][0]} is not computed alike "
                f"({'; '.join(signature for _, signature in differing[:2])}); run both jobs again with these libraries"
            )


def _caption(groups: Sequence[RunGroup], n: int, scored: Mapping[str, int], is_mixed: bool) -> str:
    fewer = [f"; {title}: n = {users:,}" for title, users in scored.items() if users < n]
    protocol = "several, by row" if is_mixed else groups[0].protocol or "none"
    executions = sorted({len(group.executions) for group in groups})
    averaged = f" Means over {', '.join(map(str, executions))} executions." if executions != [1] else ""
    return (
        f"Scores on the users with a prediction in every run (n = {n:,}{''.join(fewer)}). "
        f"Protocol: {protocol}.{averaged}"
    )


def _write_file(place: str, content: bytes, force: bool) -> str:
    folder, name = _parted(place)
    check_reachable(folder)
    if "://" not in place and Path(place).is_dir():
        raise BadInput(f"{place} is a folder; give --out a file's name")
    try:
        if force:
            folder.write(name, content)
        elif not folder.create(name, content):
            raise BadInput(f"{folder.uri}/{name} is there already; choose another --out, or replace it with --force")
    except OSError as error:
        raise BadInput(f"{place}: cannot be written: {error}") from error
    return f"{folder.uri}/{name}"


def _parted(place: str) -> tuple[Folder, str]:
    if "://" not in place:
        return open_folder(str(Path(place).parent), s3_options()), Path(place).name
    folder, _, name = place.rpartition("/")
    if not name or folder.endswith(":/"):
        raise BadInput(f"--out {place}: give a file's name in a bucket, s3://BUCKET/FILE")
    return open_folder(folder, s3_options()), name


def _write_folder(place: str, rows: pa.Table, force: bool) -> str:
    """A folder that `datasets.load_from_disk` reads; it replaces only a folder of that kind."""
    if "://" in place:
        raise BadInput(f"--out {place}: --format hf writes a folder on this machine; give a path")
    target = Path(place).absolute()
    if target.exists() and not (force and (target / "dataset_info.json").is_file()):
        what = "is there already; choose another --out, or replace it with --force"
        raise BadInput(f"{target} {what if not force else 'is no folder of a dataset: choose another --out'}")
    # Imported here: datasets takes a second, which the other forms need not pay.
    import datasets

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            datasets.Dataset(rows).save_to_disk(Path(temporary) / "new")
            if target.exists():
                target.rename(Path(temporary) / "old")
            shutil.move(Path(temporary) / "new", target)
    except OSError as error:
        raise BadInput(f"{place}: cannot be written: {error}") from error
    return str(target)
