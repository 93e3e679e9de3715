"""The two kinds of failure that a person is told about, and the exit codes of the command line."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_ERROR_ROWS = 3


class BadInput(Exception):
    """The configuration, the dataset or the cluster is not what the job needs: nothing was started."""


class JobFailed(Exception):
    """The job could not go on; what was committed stays, and the same command continues."""
