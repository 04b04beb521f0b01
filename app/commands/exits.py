"""The exit codes of `optim`, and the one that each refusal has."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes. `docs/commands.md` has them as a table."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_THERE = 3
    UNREACHABLE = 4
    FINDINGS = 5


class NotThere(Exception):
    """A thing that was named and is not there. The message says which, and the way out."""


def exit_of(error: Exception) -> Exit | None:
    """Return the exit code of a refusal; `None` for an error that is none, but a fault of this program."""
    if isinstance(error, FileNotFoundError | NotThere):
        return Exit.NOT_THERE
    if isinstance(error, ValueError | OSError):
        return Exit.FAILED
    from optim_client import errors as client

    from app import errors as service

    if isinstance(error, client.NotFound | service.SessionNotFound):
        return Exit.NOT_THERE
    if isinstance(error, client.Overloaded):  # it was reached, and refused
        return Exit.FAILED
    if isinstance(error, client.APIConnectionError | client.ServiceUnavailable | service.StoreUnavailable):
        return Exit.UNREACHABLE
    return Exit.FAILED if isinstance(error, client.OptimError | service.ServiceError) else None
