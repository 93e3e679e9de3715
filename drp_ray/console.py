"""What the command line says: lines, tables, one line for a failure, and an orderly end on a signal.

All that is printed comes through here, where what would steer a terminal and passwords in addresses are made harmless.
"""

import errno
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable

from drp_ray.errors import EXIT_BAD_INPUT, EXIT_FAILED, BadInput, JobFailed, printable

TABLE_WIDTH = 140
"""Characters of a table's line where the output is no terminal."""


def say(line: str) -> None:
    """Print a line at once, also where the output is a pipe."""
    print(printable(line), flush=True)


class Table(RichTable):
    """A table of plain texts: nothing in a cell is markup, and nothing steers the terminal."""

    def add_row(self, *cells: Any, **how: Any) -> None:
        """Add a row; see rich."""
        super().add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in cells), **how)


def print_table(table: Table) -> None:
    """Print a table; its lines stay whole where the output is no terminal."""
    _console().print(table)


def _console() -> Console:
    width = None if sys.stdout.isatty() else TABLE_WIDTH
    return Console(width=width, markup=False, emoji=False, highlight=False)


def show_table(make: Callable[[], tuple[Table, bool]], every_s: float | None = None) -> None:
    """Print a table, or with `every_s` look again until it is final: on a terminal in place, else where it changed.

    `make` returns the table as it is now, and whether it is final.
    """
    console = _console()
    table, is_final = make()
    with Live(table, console=console, auto_refresh=False) if console.is_terminal else nullcontext() as live:
        shown = _shown(table, console, live, "")
        while every_s is not None and not is_final:
            time.sleep(every_s)
            table, is_final = make()
            shown = _shown(table, console, live, shown)


def _shown(table: Table, console: Console, live: Live | None, before: str) -> str:
    """Show a table; what it looks like."""
    if live is not None:
        live.update(table, refresh=True)
        return ""
    with console.capture() as captured:
        console.print(table)
    if captured.get() != before:
        say(captured.get().rstrip("\n"))
    return captured.get()


@contextmanager
def failures_reported() -> Iterator[None]:
    """Report a failure in a line or two on standard error, and end with its exit code.

    Whatever is no failure that a person can act on is a bug, ours or of what we use: its traceback is in a file.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        ours = next((each for each in _causes(error) if isinstance(each, BadInput | JobFailed)), None)
        told = ours or _failure_of_the_machine(error) or _written_down(error)
        print(f"drp-ray: {printable(str(told))}", file=sys.stderr, flush=True)
        _exit_after(error, EXIT_BAD_INPUT if isinstance(told, BadInput) else EXIT_FAILED)


def _exit_after(error: Exception, code: int) -> NoReturn:
    raise typer.Exit(code) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those inside it.

    Ray's wrappers of what was raised elsewhere are left out: they are of the same class, and say a page of traceback.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        wrapped = getattr(error, "cause", None)
        if wrapped is None:
            yield error
        error = wrapped or error.__cause__


OF_THE_MACHINE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or ask for more",
    errno.EROFS: "choose another place",
    errno.EACCES: "choose another place, or ask for the right to it",
    errno.EPERM: "choose another place, or ask for the right to it",
    errno.EIO: "look after the disk",
    errno.EMFILE: "raise the limit (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs, or lower replicas",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EISDIR: "a folder is where a file should be",
}
"""What the operating system refuses, and what to do about it."""


def _failure_of_the_machine(error: Exception) -> JobFailed | None:
    """What the operating system refused, in a line; None where it refused nothing."""
    for each in _causes(error):
        if isinstance(each, OSError) and each.errno in OF_THE_MACHINE:
            where = f"{each.filename}: " if each.filename else ""
            return JobFailed(f"{where}{each.strerror}: {OF_THE_MACHINE[each.errno]}; the same command continues")
        if isinstance(each, MemoryError):
            return JobFailed("there is not enough memory; close other programs, or lower replicas")
    return None


def _written_down(error: Exception) -> JobFailed:
    """Write the traceback of a bug to a file of its own; what a person is told of it."""
    what = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    try:
        with tempfile.NamedTemporaryFile("w", prefix="drp-ray-", suffix=".log", delete=False) as log:
            log.write(printable("".join(traceback.format_exception(error))))
    except OSError as problem:
        return JobFailed(f"{what}\nThis is a bug; its traceback could not be written ({problem.strerror})")
    return JobFailed(f"{what}\nThis is a bug, of drp-ray or of what it uses; the traceback is in {log.name}")


class Stopped(SystemExit):
    """A signal asked the job to stop."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an orderly end; whole parts are committed already."""

    def stop(number: int, _: Any) -> None:
        print(f"drp-ray: stopped by {signal.Signals(number).name}; the same command continues", file=sys.stderr)
        raise Stopped(128 + number)

    before: dict[int, Callable[..., Any] | int | None] = {
        number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
