"""Gradients of several batches in one step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optim_client import Client, StepConflict
from optim_client.optax import multi_steps, remote

from tests.peers.optax_client.loops import client

__all__ = ["client"]

PARAMS = {"w": jnp.ones(3, jnp.float32)}
BATCHES = [{"w": jnp.asarray(row, jnp.float32)} for row in np.arange(18).reshape(6, 3)]


@pytest.mark.parametrize("jit", [False, True])
def test_a_step_is_taken_with_the_mean_of_the_batches(client: Client, jit: bool) -> None:
    session = client.sessions.create("sgd", lr=1)
    tx = multi_steps(optax.chain(optax.clip(100.0), remote(session)), every_k=3)
    update = jax.jit(tx.update) if jit else tx.update
    params, state, steps = PARAMS, tx.init(PARAMS), []
    for grads in BATCHES:
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        steps.append(session.info.step)
    assert steps == [0, 0, 1, 1, 1, 2]
    assert params["w"].tolist() == (1 - 3 - 12 - np.arange(3) * 2).tolist()


def test_optax_multi_steps_is_told_what_to_use(client: Client) -> None:
    tx: Any = optax.MultiSteps(remote(client.sessions.create("sgd", lr=1)), 2)
    _, state = tx.update(BATCHES[0], tx.init(PARAMS), PARAMS)
    with pytest.raises((StepConflict, jax.errors.JaxRuntimeError), match="not the next one"):
        jax.block_until_ready(tx.update(BATCHES[1], state, PARAMS))


def test_a_number_that_is_none_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="every_k must be a whole number"):
        multi_steps(remote(client.sessions.create("sgd")), 0)
