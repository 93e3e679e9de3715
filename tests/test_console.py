"""What the command line shows: failures, what changes, and nothing that steers a terminal or shows a password."""

import errno
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from drp_ray.console import Table, failures_reported, print_table, say, show_table
from drp_ray.errors import BadInput, JobFailed, printable, without_passwords


def reported(error: BaseException, capsys) -> tuple[int, list[str]]:
    """The exit code and the lines on standard error."""
    with pytest.raises(typer.Exit) as ended, failures_reported():
        raise error
    return ended.value.exit_code, capsys.readouterr().err.splitlines()


class OfRay(Exception):
    """As Ray wraps what a task raised."""

    def __init__(self, cause):
        super().__init__("a page of traceback\n" * 50)
        self.cause = cause


def as_ray_wraps(error: BaseException) -> Exception:
    """Ray's wrapper is of the wrapped error's class as well."""
    return type("RayTaskError", (OfRay, type(error)), {"__init__": lambda self: OfRay.__init__(self, error)})()


@pytest.mark.parametrize(("error", "code"), [(BadInput("wrong"), 2), (JobFailed("wrong"), 1)])
def test_ours_are_a_line_also_inside_rays(error, code, capsys):
    assert reported(error, capsys) == (code, ["drp-ray: wrong"])
    assert reported(OfRay(error), capsys) == (code, ["drp-ray: wrong"])
    assert reported(as_ray_wraps(error), capsys) == (code, ["drp-ray: wrong"])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO])
def test_what_the_machine_refuses_is_a_line_with_the_place_and_what_to_do(number, capsys):
    code, lines = reported(OfRay(OSError(number, "No", "/some/file")), capsys)
    assert code == 1 and len(lines) == 1
    assert lines[0].startswith("drp-ray: /some/file: No: ")


def test_a_bug_is_two_lines_and_its_traceback_is_in_a_file(capsys):
    code, lines = reported(ZeroDivisionError("division by zero\nmore"), capsys)
    assert code == 1 and len(lines) == 2
    assert lines[0] == "drp-ray: ZeroDivisionError: division by zero"
    log = Path(re.search(r"the traceback is in (\S+)$", lines[1]).group(1))
    assert "Traceback" in log.read_text() and "test_console.py" in log.read_text()
    log.unlink()


def test_exit_codes_of_commands_pass():
    with pytest.raises(typer.Exit) as ended, failures_reported():
        raise typer.Exit(3)
    assert ended.value.exit_code == 3


STEERING = "a\x1b]0;title\x07b\x1b[2Jc\x9bd\u202ee\rf\x00g"


def test_nothing_that_steers_a_terminal_is_printed(capsys):
    shown = printable(STEERING)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown) and "title" in shown
    say(STEERING)
    table = Table("column", title="[bold]title")
    table.add_row(f"{STEERING} [red]:smile:[/nothing]")
    print_table(table)
    assert not re.search("[\x1b\x07\x9b]", capsys.readouterr().out)
    _, lines = reported(BadInput(STEERING), capsys)
    assert lines == [f"drp-ray: {shown}"]


def test_markup_and_emoji_in_a_cell_are_text(capsys):
    table = Table("column")
    table.add_row("[red]:smile:[/nothing]")
    print_table(table)
    assert "[red]:smile:[/nothing]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:secret@host:80/v1: no", "at http://***@host:80/v1: no"),
        ("s3 https://token@host/x?mail=a@b", "s3 https://***@host/x?mail=a@b"),
        ("mail a@b, http://host/a@b and key: value@x", "mail a@b, http://host/a@b and key: value@x"),
        ("http://me:pa:ss%40w@host http://me:x@host", "http://***@host http://***@host"),
        ("http://me:secret@ss@host:80/a@b", "http://***@host:80/a@b"),
        ("'http://me:@@pa@@@host'@x and http://h?mail=a@b@c", "'http://***@host'@x and http://h?mail=a@b@c"),
    ],
)
def test_passwords_in_addresses_are_not_shown(text, shown, capsys):
    assert without_passwords(text) == shown
    say(text)
    assert capsys.readouterr().out == f"{shown}\n"


WATCH = """
from drp_ray.console import Table, show_table

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
