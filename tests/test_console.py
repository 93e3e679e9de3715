"""What the command line shows of something that changes."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.table import Table

from drp_ray.console import show_table

WATCH = """
from rich.table import Table
from drp_ray.console import show_table

seen = iter([1, 1, 2, 3])

def make():
    count = next(seen)
    table = Table("parts")
    table.add_row(f"{count} of 3")
    return table, count == 3

show_table(make, every_s=0.01)
"""


def states(counts):
    for count in counts:
        table = Table("parts")
        table.add_row(f"{count} of 3")
        yield table, count == 3


def test_a_table_is_printed_once_without_watching(capsys):
    made = states([1, 2, 3])
    show_table(lambda: next(made))
    assert capsys.readouterr().out.count("1 of 3") == 1
    assert len(list(made)) == 2, "nobody looked again"


def test_where_the_output_is_no_terminal_a_table_is_printed_again_when_it_changed(capsys):
    made = states([1, 1, 1, 2, 2, 3])
    show_table(lambda: next(made), every_s=0.001)
    out = capsys.readouterr().out
    assert [out.count(f"{count} of 3") for count in (1, 2, 3)] == [1, 1, 1]
    assert list(made) == [], "it looks until the end"


def test_what_is_final_at_once_is_shown_once(capsys):
    made = states([3, 3])
    show_table(lambda: next(made), every_s=60)
    assert capsys.readouterr().out.count("3 of 3") == 1


def test_a_terminal_shows_the_last_state_in_place():
    ours, theirs = pty.openpty()
    root = str(Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": root, "TERM": "xterm"}
    done = subprocess.run([sys.executable, "-c", WATCH], stdout=theirs, stderr=subprocess.PIPE, env=env, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0, done.stderr.decode()
    assert "\x1b[1A" in shown, "the cursor goes up, to write over what stands there"
    assert shown.rindex("3 of 3") > shown.rindex("2 of 3")
