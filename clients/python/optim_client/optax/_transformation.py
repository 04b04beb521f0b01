"""A session as a gradient transformation of optax."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.experimental import io_callback

from optim_client._sessions import Session
from optim_client._tensors import CODES
from optim_client.optax._bridge import Bridge
from optim_client.optax._failures import remember
from optim_client.optax._leaves import named_leaves


class RemoteState(NamedTuple):
    """The state of a remote optimizer. The moments are the service's; `count` is the session's step."""

    count: jax.Array


def remote(
    session: Session, learning_rate: float | Callable[[Any], Any] | None = None
) -> optax.GradientTransformationExtraArgs:
    """Return a gradient transformation whose updates the service computes, in the place of `optax.adamw(…)`.

    It works eagerly and under `jax.jit`. Tracing takes no step: only what runs does, in order. `update` needs `params`;
    it takes `value`, the loss for the history. The same call again, with the same state, is the same step: it is
    applied once, and has the same answer.

    Args:
        session: The session, made or found by a `Client`.
        learning_rate: A number for each step, or a schedule of optax, a function of the count. Without it, the
            session's own `lr` and `schedule` hold.

    Returns:
        The transformation. `optax.apply_updates(params, updates)` gives the service's new parameters: to the bit where
        one is from half to twice the old one, else off by the last digit of the update at most. The next step goes on
        from the exact ones.

    Raises:
        TypeError: `session` is no `Session` of a `Client`.

    Example:
        tx = remote(client.sessions.create("adamw", lr=1e-3))
        opt_state = tx.init(params)
        updates, opt_state = tx.update(grads, opt_state, params, value=loss)
        params = optax.apply_updates(params, updates)
    """
    if not isinstance(session, Session):
        raise TypeError(
            f"session must be a Session of a Client, such as client.sessions.create('adamw'), not {session!r}"
        )
    bridge = Bridge(session)

    def update(updates: Any, state: RemoteState, params: Any = None, *, value: Any = None, **_: Any) -> Any:
        lr = learning_rate(state.count) if callable(learning_rate) else learning_rate
        return _updated(bridge, updates, params, (state.count, lr, value))

    return optax.GradientTransformationExtraArgs(partial(_begun, session), update)


def _begun(session: Session, params: Any) -> RemoteState:
    """Return the state at the session's step. Raises `ValueError` if two arrays have one name."""
    named_leaves("params", params)
    return RemoteState(jnp.asarray(session.info.step, jnp.int32))


def _updated(bridge: Bridge, updates: Any, params: Any, scalars: tuple[Any, ...]) -> tuple[Any, RemoteState]:
    """Return the updates, in the structure of the gradients, and the new state."""
    grads, given = _matched(updates, params)
    count, leaves = _step(bridge, list(grads), (*scalars, list(grads.values()), given))
    return jax.tree.unflatten(jax.tree.structure(updates), leaves), RemoteState(count)


def _matched(updates: Any, params: Any) -> tuple[dict[str, jax.Array], list[jax.Array]]:
    """Return the gradients by name, each in the dtype of its parameter, and these. Raises the errors of `update`."""
    if params is None:
        raise ValueError("update needs the parameters: tx.update(grads, opt_state, params)")
    grads, given = named_leaves("grads", updates), named_leaves("params", params)
    if unknown := grads.keys() - given.keys():
        raise ValueError(f"grads has {min(unknown)!r}, which params has not: they must be trees of one structure")
    if not grads:
        raise ValueError("update has no gradient: grads is empty, or holds nothing but None")
    taken = {name: jnp.asarray(given[name]) for name in grads}
    return {name: _like(name, jnp.asarray(g), taken[name]) for name, g in grads.items()}, list(taken.values())


def _like(name: str, grad: jax.Array, param: jax.Array) -> jax.Array:
    """Return the gradient in the parameter's dtype, if that changes no number. Raises `TypeError` and `ValueError`."""
    if param.dtype.name not in CODES:
        raise TypeError(
            f"params[{name!r}] has dtype {param.dtype}; expected one of {', '.join(CODES)}: mask it (optax.masked)"
        )
    if grad.shape != param.shape:
        raise ValueError(f"grads[{name!r}] has the shape {list(grad.shape)}, and its parameter {list(param.shape)}")
    if grad.dtype.name not in CODES or jnp.promote_types(grad.dtype, param.dtype) != param.dtype:
        raise TypeError(f"grads[{name!r}] has dtype {grad.dtype}, which {param.dtype}, its parameter's, cannot hold")
    return grad.astype(param.dtype)


def _step(bridge: Bridge, names: list[str], operands: tuple[Any, ...]) -> tuple[jax.Array, list[jax.Array]]:
    """Take the step: at once, or when the traced function runs. JAX refuses `vmap`, and gradients through it."""
    if not _is_traced(operands):
        count, updates = bridge.step(names, *operands)
        return jnp.asarray(count), list(map(jnp.asarray, updates))
    shapes = [jax.ShapeDtypeStruct(p.shape, p.dtype) for p in operands[-1]]
    answer = (jax.ShapeDtypeStruct((), jnp.int32), shapes)
    return io_callback(partial(_called, bridge, names), answer, *operands, ordered=True)  # type: ignore[no-any-return]


def _is_traced(operands: tuple[Any, ...]) -> bool:
    """Return whether a function is being traced, perhaps one that has these operands as constants."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in (jnp.zeros(()), *jax.tree.leaves(operands)))


def _called(bridge: Bridge, names: list[str], *operands: Any) -> Any:
    """Take the step in a callback, and keep its error for `typed_errors`."""
    try:
        return bridge.step(names, *operands)
    except Exception as error:
        remember(error)
        raise
