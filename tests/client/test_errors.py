"""The error tree: what its classes hold and say, and that all of them can be imported and pickled."""

import pickle

import optim_client
import pytest
from optim_client import errors
from optim_client._refusals import status_error

from tests.client.documents import REQUEST_ID, error_of


def test_every_error_can_be_imported_from_the_package() -> None:
    defined = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert defined <= set(optim_client.__all__)


def test_a_step_conflict_has_the_sessions_step() -> None:
    error = error_of("step_conflict", "step 3 is not the next one", current_step=7, applied_as_step=3)
    assert isinstance(error, errors.StepConflict)
    assert (error.current_step, error.applied_as_step) == (7, 3)
    assert "session.get()" in str(error)


def test_a_non_finite_value_is_named_with_its_index() -> None:
    error = error_of("non_finite", "w[0, 2] is nan", tensor="w", index=[0, 2])
    assert isinstance(error, errors.NonFinite)
    assert (error.tensor, error.index) == ("w", [0, 2])


def test_only_a_missing_key_names_its_variable() -> None:
    assert "OPTIM_API_KEY" in str(error_of("unauthenticated", "no key"))
    assert "OPTIM_API_KEY" not in str(status_error(401, {"www-authenticate": "Basic"}, b"no"))


@pytest.mark.parametrize(
    "error",
    [
        status_error(409, REQUEST_ID, b'{"code": "step_conflict", "detail": "behind", "current_step": 7}'),
        status_error(502, {}, b""),
        errors.APITimeoutError("late", sent=False),
        errors.InvalidAnswer("no JSON"),
    ],
)
def test_an_error_travels_between_processes(error: errors.OptimError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
