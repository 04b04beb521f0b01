"""The client's own errors, where JAX raises one of its own for what failed in a jitted function."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import jax

MOST = 16
"""The most errors that a context keeps, in case some are of other threads."""

_open: dict[int, deque[Exception]] = {}
"""The errors of steps that JAX has called, for each context that is open: JAX calls in threads of its own."""


def remember(error: Exception) -> None:
    """Keep the error of a step that JAX has called."""
    for errors in list(_open.values()):
        errors.append(error)


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
    errors = deque[Exception](maxlen=MOST)
    _open[id(errors)] = errors
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        for own in reversed(errors):
            if str(own) in str(error):
                raise own from error
        raise
    finally:
        del _open[id(errors)]
