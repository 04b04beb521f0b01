"""Steps of jitted functions whose answers are lost: each happens once."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest
from optim_client import APIConnectionError, Client
from optim_client.optax import remote, typed_errors

from app.demo.server import Server
from tests.client.test_lost_answers import LosesAnswers
from tests.peers.optax_client.loops import alike, jitted, some_params


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.mark.parametrize("hold_params", [False, True])
def test_a_step_without_an_answer_is_called_again(server: Server, hold_params: bool) -> None:
    with Client(server.url, transport=LosesAnswers("/steps"), max_retries=0) as client, Client(server.url) as plain:
        results = []
        for each in (client, plain):
            session = each.sessions.create("adamw", lr=0.01, hold_params=hold_params)
            tx = remote(session)
            step, params = jitted(tx), some_params()
            state = tx.init(params)
            for seed in range(3):
                if each is client:
                    with pytest.raises(APIConnectionError), typed_errors():
                        jax.block_until_ready(step(params, state, seed))
                params, state, _ = step(params, state, seed)
            results.append((params, session.get().digest, session.params_digest))
    assert alike(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]
    assert jnp.isfinite(params["layers"][0]).all()
