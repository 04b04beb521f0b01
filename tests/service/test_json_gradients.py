"""Gradients in JSON that are not finite, or not there: what each way to write them leads to."""

import pytest
from httpx2 import Client

from tests.service.calls import create, problem, stepped

JSON = {"content-type": "application/json"}
WAYS = {
    "null, as JavaScript writes it": '{"params":{"w":[1,2]},"grads":{"w":[0.5,null]}}',
    "NaN, as Jackson writes it": '{"params":{"w":[1,2]},"grads":{"w":[0.5,"NaN"]}}',
    "Infinity": '{"params":{"w":[1,2]},"grads":{"w":[0.5,"Infinity"]}}',
    "-Infinity": '{"params":{"w":[1,2]},"grads":{"w":[0.5,"-Infinity"]}}',
    "beyond float64": '{"params":{"w":[1,2]},"grads":{"w":[0.5,1e999]}}',
    "beyond float32": '{"params":{"w":[1,2]},"grads":{"w":[0.5,-1e39]}}',
    "beyond float16": '{"params":{"w":{"dtype":"float16","shape":[2],"data":[1,2]}},'
    '"grads":{"w":{"dtype":"float16","shape":[2],"data":[0.5,65520]}}}',
}


@pytest.mark.parametrize("body", WAYS.values(), ids=WAYS)
def test_a_gradient_that_is_not_finite_is_skipped_or_rejected(client: Client, body: str) -> None:
    session = create(client, "sgd", on_non_finite="skip")
    answer = client.post(f"{session}/steps", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["skipped"]) == (200, True)
    again = client.post(f"{session}/steps", content=body, headers=JSON)
    assert again.json()["step"] == 0
    rejecting = create(client, "sgd")
    refused = problem(client.post(f"{rejecting}/steps", content=body, headers=JSON), 422, "non_finite")
    assert (refused["tensor"], refused["index"]) == ("w", [1])


@pytest.mark.parametrize("hold", [False, True])
def test_a_gradient_that_is_null_leaves_its_tensor_alone(client: Client, hold: bool) -> None:
    session = create(client, "sgd", hold_params=hold, hyperparameters={"lr": 0.5})
    if hold:
        client.put(f"{session}/params", json={"params": {"used": [1, 2], "frozen": [3, 4]}})
    params = {} if hold else {"params": {"used": [1, 2], "frozen": [3, 4]}}
    answer = stepped(client, session, grads={"used": [1, 1], "frozen": None}, **params)
    assert answer["params"] == {"used": [0.5, 1.5]}
    assert client.get(session).json()["tensors"]["used"]["step"] == 1
    assert client.get(session).json()["tensors"].get("frozen", {"step": 0})["step"] == 0


def test_a_step_whose_gradients_are_all_null_is_refused(client: Client) -> None:
    answer = client.post(f"{create(client)}/steps", json={"params": {"w": [1]}, "grads": {"w": None}})
    assert problem(answer, 422, "tensor_mismatch")["detail"] == "a step needs at least one gradient"
