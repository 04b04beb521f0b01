"""The client's own errors, where JAX raises one of its own for what failed in a jitted function."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

_last: list[Exception] = []
"""The last error of a step that JAX has called, if any."""


def remember(error: Exception) -> None:
    """Keep the error of a step that JAX has called."""
    _last[:] = [error]


@contextmanager
def typed_errors() -> Iterator[None]:
    """Raise the client's own error where a jitted function fails because a step did.

    JAX raises a `JaxRuntimeError` for everything that fails in a callback, with the client's error in its text alone.
    Within this context it is raised itself, such as `StepConflict`, from JAX's. JAX computes ahead: wait for the
    result inside the context.

    Raises:
        OptimError: As `session.step` does.

    Example:
        with typed_errors():
            params, opt_state = train_step(params, opt_state, batch)
            jax.block_until_ready(params)
    """
    _last.clear()
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if _last:
            raise _last.pop() from error
        raise
