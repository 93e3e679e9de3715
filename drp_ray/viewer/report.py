"""Makes the report of runs: one HTML file."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drp_ray.job.finished import RunGroup, told_apart_within
from drp_ray.storage.folder import Folder
from drp_ray.viewer.blocks import Blocks
from drp_ray.viewer.choosing import choose
from drp_ray.viewer.documents import write_items, write_users
from drp_ray.viewer.facts import RunFacts, read_facts
from drp_ray.viewer.findings import find
from drp_ray.viewer.gather import Gathered, gather
from drp_ray.viewer.index import make_index
from drp_ray.viewer.page import write_page
from drp_ray.viewer.results import results_of
from drp_ray.viewer.sections import Report, render_head, render_summary
from drp_ray.viewer.spill import Spill

REPORT = "report.html"
SAMPLE = 2000
"""Up to so many users a report has the texts of all."""


@dataclass(frozen=True)
class ReportOptions:
    """`sample` users have their texts in the report, drawn with `seed` where there are more; or no user has any."""

    sample: int = SAMPLE
    seed: int = 0
    with_texts: bool = True


def write_report(groups: Sequence[RunGroup], path: Path, options: ReportOptions) -> Report:
    """Write the report of results; equal runs and options give equal bytes.

    Raises:
        BadInput: what a run names is not there any more.
    """
    groups = told_apart_within(groups)
    runs = [run for group in groups for run in group.executions]
    facts: list[RunFacts] = [read_facts(run, options.with_texts) for run in runs]
    tables = [each.users for each in facts]
    chosen = choose(tables, options.sample, options.seed)
    report = Report(tuple(facts), chosen, options.with_texts, results_of(groups), find(groups))
    with Spill() as users, Spill() as items, Blocks() as blocks:
        gathered = Gathered(users, items)
        gather(runs, chosen.user_ids, gathered)
        addresses, compared = write_users(gathered, chosen.user_ids, blocks, options.with_texts)
        bundles = write_items(gathered, compared, blocks, options.with_texts)
        index = make_index(report, addresses, bundles)
        with path.open("wb") as file:
            write_page(file, index, render_head(report), render_summary(report), blocks)
    return report


def write_into(groups: Sequence[RunGroup], folder: Folder, name: str, options: ReportOptions) -> str:
    """Write the report as a file of a folder or a bucket, whole or not at all; returns its address."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "report.html"
        write_report(groups, made, options)
        folder.write_file(name, made)
    return f"{folder.uri}/{name}"
