"""What the command line says: lines, tables, one line for a failure, and an orderly end on a signal."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from drp_ray.errors import EXIT_BAD_INPUT, EXIT_FAILED, BadInput, JobFailed

TABLE_WIDTH = 140
"""Characters of a table's line where the output is no terminal."""


def say(line: str) -> None:
    """Print a line at once, also where the output is a pipe."""
    print(line, flush=True)


def print_table(table: Table) -> None:
    """Print a table; its lines stay whole where the output is no terminal."""
    _console().print(table)


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)


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
    """Report a failure that a person can act on in one line on standard error, and end with its exit code."""
    try:
        yield
    except (BadInput, JobFailed) as error:
        _exit_with(error)
    except Exception as error:
        ours = _our_exception_inside(error)
        if ours is None:
            raise
        _exit_with(ours)


def _exit_with(error: BaseException) -> NoReturn:
    print(f"drp-ray: {error}", file=sys.stderr, flush=True)
    raise typer.Exit(EXIT_BAD_INPUT if isinstance(error, BadInput) else EXIT_FAILED) from error


def _our_exception_inside(error: BaseException | None) -> BaseException | None:
    """Our exception inside Ray's wrappers; None where there is none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, BadInput | JobFailed):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None


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
