"""Gradients of several batches, added up before one step of a remote optimizer."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class MultiStepsState(NamedTuple):
    """The state of `multi_steps`: how many batches are in, the mean of their gradients, and the inner state."""

    mini_step: jax.Array
    mean: Any
    inner_state: Any


def multi_steps(inner: optax.GradientTransformation, every_k: int) -> optax.GradientTransformationExtraArgs:
    """Return a transformation that takes a step of `inner` with the mean gradient of `every_k` calls.

    `optax.MultiSteps` calls the inner update each time and drops the result: with `remote` that would be a step of the
    session for each batch. This one calls it only at the last batch.

    Args:
        inner: The transformation, such as `remote(session)` or a chain with it.
        every_k: The number of calls for one step.

    Returns:
        The transformation. Its updates are zeros until the last batch.

    Raises:
        ValueError: `every_k` is no whole number from 1 on.

    Example:
        tx = multi_steps(remote(session), every_k=4)
    """
    if not isinstance(every_k, int) or every_k < 1:
        raise ValueError(f"every_k must be a whole number from 1 on, not {every_k!r}")
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> MultiStepsState:
        return MultiStepsState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), inner.init(params))

    return optax.GradientTransformationExtraArgs(init, partial(_accumulated, inner, every_k))


def _accumulated(
    inner: optax.GradientTransformationExtraArgs,
    every_k: int,
    updates: Any,
    state: MultiStepsState,
    params: Any = None,
    **extra: Any,
) -> tuple[Any, MultiStepsState]:
    """Return the updates of the inner step if this is the last batch, else zeros; and the new state."""
    mean = _mean(state, updates)

    def last() -> Any:
        new, inner_state = inner.update(mean, state.inner_state, params, **extra)
        return new, MultiStepsState(jnp.zeros_like(state.mini_step), jax.tree.map(jnp.zeros_like, mean), inner_state)

    def earlier() -> Any:
        new = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(last)[0])
        return new, MultiStepsState(state.mini_step + 1, mean, state.inner_state)

    is_last = state.mini_step + 1 == every_k
    if isinstance(is_last, jax.core.Tracer):
        return jax.lax.cond(is_last, last, earlier)  # type: ignore[no-any-return]
    return last() if is_last else earlier()  # type: ignore[no-any-return]


def _mean(state: MultiStepsState, grads: Any) -> Any:
    """Return the mean of the gradients so far and these."""
    number = state.mini_step + 1
    return jax.tree.map(lambda g, m: (m + (g - m) / number).astype(m.dtype), grads, state.mean)
