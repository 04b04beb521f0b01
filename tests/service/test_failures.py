"""The answers for failures: each is a problem document, with the status of its error."""

import json

import pytest
from starlette.requests import ClientDisconnect

from app.errors import SessionNotFound
from app.routes.failures import FAILURES, problem_of
from optim_engine import InvalidConfig


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (SessionNotFound("none"), 404, "session_not_found"),
        (InvalidConfig("lr", "must be a number"), 422, "invalid_session"),
        (ClientDisconnect(), 400, "malformed_body"),
    ],
)
def test_a_failure_is_answered_by_a_problem(error: Exception, status: int, code: str) -> None:
    assert isinstance(error, FAILURES)
    problem = problem_of(error)
    assert (problem.status_code, json.loads(problem.body)["code"]) == (status, code)
