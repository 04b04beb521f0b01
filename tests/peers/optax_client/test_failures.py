"""The client's own errors from jitted functions."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import io_callback
from optim_client import Client, NonFinite
from optim_client.optax import remote, typed_errors

from tests.peers.optax_client.loops import client

__all__ = ["client"]


def test_the_context_raises_the_clients_own_error(client: Client) -> None:
    tx = remote(client.sessions.create("adam"))
    params = {"w": jnp.asarray([jnp.nan], jnp.float32)}
    state = tx.init(params)
    with pytest.raises(jax.errors.JaxRuntimeError, match="NonFinite: gradient of tensor 'w' is nan"):
        jax.block_until_ready(jax.jit(tx.update)(params, state, params))
    with pytest.raises(NonFinite) as refused, typed_errors():
        jax.block_until_ready(jax.jit(tx.update)(params, state, params))
    assert isinstance(refused.value.__cause__, jax.errors.JaxRuntimeError)


def test_each_thread_gets_the_error_of_its_own_step(client: Client) -> None:
    def refused(name: str) -> list[str | None]:
        tx = remote(client.sessions.create("adam"))
        params = {name: jnp.asarray([jnp.nan], jnp.float32)}
        state, update, tensors = tx.init(params), jax.jit(tx.update), []
        for _ in range(20):
            with pytest.raises(NonFinite) as raised, typed_errors():
                jax.block_until_ready(update(params, state, params))
            tensors.append(raised.value.tensor)
        return tensors

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(refused, "ab")) == [["a"] * 20, ["b"] * 20]


def test_errors_of_others_stay_theirs() -> None:
    def fails(_: object) -> object:
        raise KeyError("mine")

    call = jax.jit(lambda x: io_callback(fails, x, x))
    with pytest.raises(jax.errors.JaxRuntimeError, match="mine"), typed_errors():
        jax.block_until_ready(call(jnp.zeros(())))
    with pytest.raises(KeyError), typed_errors():
        raise KeyError
