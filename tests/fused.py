"""A fixture for tests of the service: the fused kernel for every step, not for the large ones alone."""

from collections.abc import Iterator

import pytest

from optim_engine.machine import fastest


@pytest.fixture(scope="session", autouse=True)
def fused_at_once() -> Iterator[None]:
    """Let services within the tests' own process compute every step with the fused kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.kernels.NUMPY", fastest())
        yield
