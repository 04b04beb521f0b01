"""The answers for failures: problem documents for errors of the service, of the engine and of a broken connection."""

from starlette.requests import ClientDisconnect

from app.errors import MalformedBody, ServiceError, of_engine
from app.web.problems import Problem
from optim_engine import EngineError

FAILURES = (ServiceError, EngineError, ClientDisconnect)


def problem_of(error: Exception) -> Problem:
    """Return the answer for one of the `FAILURES`."""
    if isinstance(error, ServiceError):
        return Problem(error)
    if isinstance(error, EngineError):
        return Problem(of_engine(error))
    return Problem(MalformedBody("the body ended before its announced length"))
