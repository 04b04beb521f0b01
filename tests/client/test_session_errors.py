"""The errors that the client itself finds: imported from the package, and pickled."""

import pickle

import optim_client
import pytest
from optim_client import session_errors
from optim_client.session_errors import StateLost, StepMismatch, StepUnderWay


def test_every_session_error_can_be_imported_from_the_package() -> None:
    defined = {name for name, kind in vars(session_errors).items() if isinstance(kind, type)}
    assert defined - {"Self"} <= set(optim_client.__all__)


@pytest.mark.parametrize("error", [StepMismatch("s-1", 5, 10), StateLost("s-1", 10, 8), StepUnderWay("s-1", 3)])
def test_a_session_error_travels_between_processes(error: optim_client.OptimError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
