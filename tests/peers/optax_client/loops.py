"""A small network in JAX, and loops that train it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optim_client import Client, Session


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("memory:") as client:
        yield client


def some_params(dtype: Any = jnp.float32) -> dict[str, Any]:
    draw = np.random.default_rng(0).standard_normal
    return {
        "dense": {"kernel": jnp.asarray(draw((8, 16)) / 3, dtype), "bias": jnp.zeros(16, dtype)},
        "layers": [jnp.asarray(draw((16, 1)) / 4, dtype), (jnp.asarray(0.5, dtype),)],
    }


def loss_of(params: Any, seed: Any = 0) -> Any:
    x = jax.random.normal(jax.random.key(seed), (32, 8), params["dense"]["kernel"].dtype)
    hidden = jnp.tanh(x @ params["dense"]["kernel"] + params["dense"]["bias"])
    return jnp.mean((hidden @ params["layers"][0] + params["layers"][1][0] - x[:, :1]) ** 2)


def step_of(tx: Any, params: Any, state: Any, seed: Any = 0) -> Any:
    """Take a step; return the parameters, the state and the gradients."""
    loss, grads = jax.value_and_grad(loss_of)(params, seed)
    updates, state = tx.update(grads, state, params, value=loss)
    return optax.apply_updates(params, updates), state, grads


def jitted(tx: Any) -> Any:
    return jax.jit(partial(step_of, tx))


def repeated(session: Session, params: Any, grads: Any) -> Any:
    """Return the parameters after steps of a session with these gradients, without JAX."""
    params = jax.tree.map(np.array, params)
    for each in grads:
        params = session.step(params, jax.tree.map(np.array, each))
    return params


def alike(one: Any, other: Any) -> bool:
    """Return whether two trees have the same bits."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
