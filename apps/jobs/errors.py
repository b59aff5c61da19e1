"""Two families of errors: those that another attempt may cure, and those that it cannot."""


class JobError(Exception):
    """Base of what a handler raises on purpose."""

    code = "job-error"


class RetryableError(JobError):
    """Try again later: a place did not answer, a lock was held."""

    code = "retry"


class FinalError(JobError):
    """Never try again: the outcome would be the same."""

    code = "final"


class UnknownKindError(RetryableError):
    """Nobody here does this kind of work: the worker may be older than the job, as during an update."""

    code = "unknown-kind"
