"""A step's `overrides`: for that step alone, in both forms, replayed as they were, and refused by place."""

from typing import Any

import numpy as np
import orjson
import pytest
from httpx2 import Client

from tests.service.calls import W, binary_step, create, problem, read_binary, step, stepped

OVERRIDES: dict[str, Any] = {"lr": 0.5, "betas": [0.5, 0.6], "groups": {"0": {"lr": 0.25}}}
TWO: dict[str, Any] = {"params": {"w": [1.0, 2.0], "bias": [3.0]}, "grads": {"w": [0.5, -0.25], "bias": [1.0]}}


def test_overrides_are_for_one_step_alone(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 0.5}, schedule={"kind": "exponential", "gamma": 0.5})
    one = {"params": {"w": 1.0, "bias": 1.0}, "grads": {"w": 1.0, "bias": 1.0}}
    given = [{}, {"overrides": {"lr": 0.125, "groups": {"0": {"lr": 2}}}}, {"overrides": None}, {"overrides": {}}]
    answers = [stepped(client, session, **one, **more) for more in given]
    assert [answer["metrics"]["lr"] for answer in answers] == [0.5, 0.125, 0.125, 0.0625]
    assert [answer["params"]["bias"] for answer in answers] == [0.5, -1.0, 0.875, 0.9375]
    assert client.get(session).json()["hyperparameters"]["lr"] == 0.5


def test_both_forms_take_the_same_overrides(client: Client) -> None:
    text, binary = create(client), create(client)
    answer = stepped(client, text, **TWO, overrides=OVERRIDES)
    arrays = {kind: {name: np.float32(x) for name, x in TWO[kind].items()} for kind in TWO}
    sent = binary_step(client, binary, arrays["grads"], arrays["params"], overrides=orjson.dumps(OVERRIDES).decode())
    params, metadata = read_binary(sent)
    assert all(np.array_equal(x, np.float32(answer["params"][name])) for name, x in params.items())
    assert (metadata["digest"], metadata["params_digest"]) == (answer["digest"], answer["params_digest"])


@pytest.mark.parametrize("hold", [True, False])
def test_a_replay_is_of_the_overrides_and_settings_then(client: Client, hold: bool) -> None:
    session = create(client, hold_params=hold, schedule={"kind": "linear_warmup", "warmup_steps": 9})
    stepped(client, session, **TWO)
    sent = {**TWO, "step": 2, "overrides": OVERRIDES} if not hold else {"grads": TWO["grads"], "overrides": OVERRIDES}
    first = stepped(client, session, "a", **sent)
    assert client.patch(session, json={"hyperparameters": {"betas": [0.1, 0.2]}, "groups": []}).status_code == 200
    again = step(client, session, "a", **sent)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first
    problem(step(client, session, "a", **{**sent, "overrides": {}}), 422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"lr": 1, "overrides": {"lr": 1}}, "overrides.lr"),
        ({"overrides": {"groups": {"1": {}}}}, "overrides.groups.1"),
        ({"overrides": {"groups": {"0": {"eps": -1}}}}, "overrides.groups.0.eps"),
        ({"overrides": {"speed": 1}}, "overrides.speed"),
        ({"overrides": {"amsgrad": True}}, "overrides.amsgrad"),
        ({"overrides": "lr"}, "overrides"),
    ],
)
def test_a_refused_override_is_named_and_changes_nothing(client: Client, body: Any, where: str) -> None:
    session = create(client)
    stepped(client, session, **W)
    before = client.get(f"{session}/state").content
    assert problem(step(client, session, **W, **body), 422, "invalid_session")["where"] == where
    assert client.get(f"{session}/state").content == before


def test_a_refusal_leaves_a_large_held_state_as_it_was(client: Client) -> None:
    session, large = create(client, hold_params=True), {"w": np.ones((1 << 21) + 1, np.float32)}
    assert binary_step(client, session, large, large).status_code == 200
    before = client.get(f"{session}/state").content
    refused = binary_step(client, session, large, overrides='{"amsgrad": true}')
    assert problem(refused, 422, "invalid_session")["where"] == "overrides.amsgrad"
    assert client.get(f"{session}/state").content == before
    assert binary_step(client, session, large, overrides='{"betas": [0.5, 0.6]}').status_code == 200


@pytest.mark.parametrize("text", ["", "{", '{"lr": NaN}', '{"lr": 1, "lr": 2}'])
def test_metadata_that_is_no_json_is_malformed(client: Client, text: str) -> None:
    answer = binary_step(client, create(client), W["grads"], W["params"], overrides=text)
    assert "overrides" in problem(answer, 400, "malformed_body")["detail"]


def test_a_large_body_may_have_overrides(client: Client) -> None:
    body = {"params": {"w": [0.5] * 20_000}, "grads": {"w": [0.25] * 20_000}}
    answer = stepped(client, create(client), **body, overrides=OVERRIDES)
    assert answer["metrics"]["lr"] == 0.5
