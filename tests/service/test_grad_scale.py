"""A step's `grad_scale`: the same step in both forms, replayed as it was, and refused where it is no divisor."""

from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import W, binary_step, create, problem, read_binary, step, stepped

SCALED: dict[str, Any] = {"params": W["params"], "grads": {"w": [512.0, -256.0]}, "grad_scale": 1024}


def test_scaled_gradients_make_the_step_of_those_divided(client: Client) -> None:
    scaled, plain = (create(client, clip={"global_norm": 0.1}) for _ in range(2))
    assert stepped(client, scaled, **SCALED) == stepped(client, plain, **W)


def test_a_null_or_one_changes_nothing(client: Client) -> None:
    sessions = [create(client) for _ in range(3)]
    answers = [
        stepped(client, session, **W, **more)
        for session, more in zip(sessions, ({}, {"grad_scale": None}, {"grad_scale": 1}), strict=True)
    ]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("hold", [True, False])
def test_a_replay_divides_as_the_step_did(client: Client, hold: bool) -> None:
    session = create(client, "sgd", hold_params=hold)
    tensors = {name: {"w": np.float16(SCALED[name]["w"])} for name in ("params", "grads")}
    sent: tuple[Any, ...] = (tensors["grads"], tensors["params"], {"idempotency-key": '"a"'})
    first = binary_step(client, session, *sent, grad_scale="1e3")
    client.patch(session, json={"hyperparameters": {"lr": 0.5}})
    again = binary_step(client, session, *sent, grad_scale="1e3")
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    other = binary_step(client, session, *sent, grad_scale="1e4")
    problem(other, 422, "idempotency_mismatch")


def test_float16_gradients_keep_their_digits(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 1.0})
    sent = {"w": np.float16([1.5])}
    after, metadata = read_binary(binary_step(client, session, sent, {"w": np.float16([0])}, grad_scale=2.0**30))
    assert after["w"] == 0
    assert '"grad_norm":1.3969838619232178e-9' in metadata["metrics"]


@pytest.mark.parametrize("scale", [0, -1, "NaN", "Infinity", "1", True, []])
def test_what_divides_nothing_is_malformed(client: Client, scale: Any) -> None:
    session = create(client)
    detail = problem(step(client, session, **W, grad_scale=scale), 400, "malformed_body")["detail"]
    assert "`grad_scale` must be a" in detail
    assert client.get(session).json()["step"] == 0


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf", "", "1 0"])
def test_metadata_that_divides_nothing_is_malformed(client: Client, scale: str) -> None:
    answer = binary_step(client, create(client), W["grads"], W["params"], grad_scale=scale)
    assert "grad_scale" in problem(answer, 400, "malformed_body")["detail"]


def test_a_quotient_that_overflows_is_not_finite(client: Client) -> None:
    session = create(client)
    assert problem(step(client, session, **W, grad_scale=1e-45), 422, "non_finite")["tensor"] == "w"
    assert client.get(session).json()["step"] == 0


def test_an_overflow_leaves_a_large_held_state_as_it_was(client: Client) -> None:
    session, large = create(client, hold_params=True), {"w": np.ones((1 << 21) + 1, np.float32)}
    assert binary_step(client, session, large, large).status_code == 200
    before = client.get(f"{session}/state").content
    refused = binary_step(client, session, large, grad_scale="1e-45")
    assert problem(refused, 422, "non_finite")["index"] == [0]
    assert client.get(f"{session}/state").content == before
    assert binary_step(client, session, large).status_code == 200
