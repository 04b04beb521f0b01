"""The steps of a gradient transformation, without JAX."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from optim_client import APIConnectionError, Client, StepConflict
from optim_client.optax._bridge import Bridge

from app.demo.server import Server
from tests.client.test_lost_answers import LosesAnswers
from tests.client.training import grads_for
from tests.client.training import some_params as few_params


def some_params() -> Any:
    """Return parameters of every dtype, and so many small ones that some change their sign at each step."""
    return {**few_params(), "many": np.float32(0.02) * np.random.default_rng(1).standard_normal(4000, np.float32)}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("memory:") as client:
        yield client


def taken(bridge: Bridge, count: int, params: Any, grads: Any) -> tuple[int, Any]:
    """Take a step; return the new count, and the sums of the parameters and the updates."""
    after, updates = bridge.step(list(params), np.int32(count), None, None, list(grads.values()), list(params.values()))
    return int(after), {name: p + update for (name, p), update in zip(params.items(), updates, strict=True)}


@pytest.mark.parametrize("hold_params", [False, True])
def test_sums_lead_through_the_same_steps_as_the_session(client: Client, hold_params: bool) -> None:
    session = client.sessions.create("adamw", lr=0.01, hold_params=hold_params, on_other_params="reject")
    plain = client.sessions.create("adamw", lr=0.01)
    bridge, params, exact, count = Bridge(session), some_params(), some_params(), 0
    for number in range(1, 31):
        grads = grads_for(params, number)
        count, params = taken(bridge, count, params, grads)
        exact = plain.step(exact, grads)
    assert (count, session.params_digest) == (30, plain.params_digest)


def test_a_repeated_step_is_sent_with_the_same_bytes(client: Client) -> None:
    session = client.sessions.create("adamw", lr=0.01, on_other_params="reject")
    bridge, params, count = Bridge(session), some_params(), 0
    for number in range(1, 6):
        before = count, params
        count, params = taken(bridge, *before, grads_for(params, number))
    assert taken(bridge, *before, grads_for(params, 5))[0] == 5
    count, _ = taken(bridge, count, params, grads_for(params, 6))
    assert session.get().step == count == 6


def test_a_refused_step_leaves_the_session_as_it_was_known(client: Client) -> None:
    session = client.sessions.create("adam")
    bridge, params = Bridge(session), some_params()
    taken(bridge, 0, params, params)
    taken(bridge, 1, params, params)
    with pytest.raises(StepConflict) as refused:
        taken(bridge, 7, params, params)
    assert "the count of optax's state is 7, so this is step 8" in refused.value.__notes__[0]
    assert session.info.step == 2


@pytest.mark.parametrize("hold_params", [False, True])
@pytest.mark.long
def test_a_step_without_an_answer_is_applied_once(server: Server, hold_params: bool) -> None:
    with Client(server.url, transport=LosesAnswers("/steps"), max_retries=0) as client:
        session = client.sessions.create("sgd", lr=1, hold_params=hold_params)
        bridge, params, count = Bridge(session), {"w": np.float32([1, 2])}, 0
        for number in range(1, 4):
            with pytest.raises(APIConnectionError):
                taken(bridge, count, params, {"w": np.float32([1, 1])})
            count, params = taken(bridge, count, params, {"w": np.float32([1, 1])})
            assert session.get().step == count == number
        assert params["w"].tolist() == [-2, -1]


@pytest.mark.parametrize("policy", ["warn", "reject", "accept"])
def test_changed_parameters_of_a_held_session_are_told(
    client: Client, policy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    session = client.sessions.create("adam", hold_params=True, on_other_params=policy)
    bridge, params = Bridge(session), some_params()
    count, params = taken(bridge, 0, params, grads_for(params, 1))
    changed = {**params, "half": params["half"] + np.float16(1)}
    with caplog.at_level(logging.WARNING, "optim_client"):
        if policy == "reject":
            with pytest.raises(ValueError, match="parameters 'half' were changed"):
                taken(bridge, count, changed, grads_for(params, 2))
        else:
            after = taken(bridge, count, changed, grads_for(params, 2))[1]
            np.testing.assert_allclose(after["half"], session.params()["half"], atol=1e-3)
    assert ("'half' were changed" in caplog.text) is (policy == "warn")


def test_a_session_that_holds_parameters_gets_gradients_alone(client: Client) -> None:
    first = client.sessions.create("adam", hold_params=True)
    params = some_params()
    first.put_params(params)
    bridge = Bridge(client.sessions.get(first.id))
    assert taken(bridge, 0, params, grads_for(params, 1))[0] == 1
    again = Bridge(client.sessions.get(first.id))
    assert taken(again, 1, params, grads_for(params, 2))[0] == 2
