"""docs/reliability.md names tests that are there, and every drill is in it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT))
DRILLS = [
    *sorted((ROOT / "tests" / "faults").glob("test_*.py")),
    ROOT / "tests" / "storage" / "test_bucket_faults.py",
    ROOT / "tests" / "storage" / "test_commit_steps.py",
]


def named_in(path: Path) -> set[tuple[str, str]]:
    """The tests of a module, those in classes too."""
    place = str(path.relative_to(ROOT))
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {(place, node.name) for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_is_named_is_there():
    there = set().union(*(named_in(ROOT / place) for place in {place for place, _ in NAMED}))
    assert sorted(NAMED - there) == []


def test_every_drill_is_in_the_table():
    drills = set().union(*map(named_in, DRILLS))
    assert sorted(drills - NAMED) == []


def test_every_row_of_the_tables_has_a_test():
    tables = TEXT.partition("## The soak")[0].splitlines()
    rows = [line for line in tables if line.startswith("|") and not line.startswith(("| fault", "|---"))]
    assert len(rows) > 30 and [row for row in rows if "::test_" not in row] == []
