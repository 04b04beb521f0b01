"""The exit codes of refusals."""

import pytest
from optim_client import errors as client

from app import errors as service
from app.commands.exits import Exit, exit_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), Exit.FAILED),
        (PermissionError(13, "x"), Exit.FAILED),
        (FileNotFoundError(2, "x"), Exit.NOT_THERE),
        (client.SessionNotFound("x", status=404), Exit.NOT_THERE),
        (service.SessionNotFound("x"), Exit.NOT_THERE),
        (client.APIConnectionError("x"), Exit.UNREACHABLE),
        (client.StoreUnavailable("x", status=503), Exit.UNREACHABLE),
        (service.StoreUnavailable("x"), Exit.UNREACHABLE),
        (client.Overloaded("x", status=503), Exit.FAILED),
        (client.Conflict("x", status=409), Exit.FAILED),
        (service.StateDamaged("x"), Exit.FAILED),
        (KeyError("x"), None),
    ],
)
def test_each_refusal_has_its_exit_code(error: Exception, code: Exit | None) -> None:
    assert exit_of(error) == code
