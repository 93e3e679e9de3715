"""The two kinds of failure that are reported to a person, and the exit codes of the command line."""

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_ERROR_ROWS = 3


class BadInput(Exception):
    """The configuration, the dataset or the cluster is not what the job needs: nothing was started."""


class JobFailed(Exception):
    """The job could not go on; what was committed stays, and the same command continues."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, or list them all."""
    known = sorted(known)
    if not known:
        return "there are none"
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
