"""The two kinds of failure that are reported to a person, and the exit codes of the command line."""

import difflib
import re
from collections.abc import Iterable

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_ERROR_ROWS = 3


class BadInput(Exception):
    """The configuration, the dataset or the cluster is not what the job needs: nothing was started."""


class CannotWrite(BadInput):
    """A folder that cannot be written: no right to it, a disk that is read only, or a file in its place."""


class JobFailed(Exception):
    """The job could not go on; what was committed stays, and the same command continues."""


class StageFailed(JobFailed):
    """What one stage could not do, while other stages that share its workers may go on."""


class DatasetChanged(JobFailed):
    """The dataset was changed while a job read it: nothing that was made meanwhile may count."""


_IN_ADDRESS = re.compile(r"(?<=://)[^\s/?#'\"]+@")


def without_passwords(text: str) -> str:
    """A text with `***` for the user name and the password of every address in it."""
    return _IN_ADDRESS.sub("***@", text)


def printable(text: str) -> str:
    """A text as it may be shown: without passwords, and with escapes for what would steer a terminal.

    These are control characters but for line ends and tabs, and those that turn the direction of writing.
    """
    return _STEERING.sub(_escaped, without_passwords(text))


_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, or list them all."""
    known = sorted(known)
    if not known:
        return "there are none"
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
