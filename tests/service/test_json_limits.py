"""JSON has a limit of its own: what is longer goes as safetensors, and is told so."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from httpx2 import Client

from tests.service.calls import SAFETENSORS, binary_step, create, problem, read_binary, serving, step

LIMIT = 4096
MANY = np.arange(1000, dtype=np.float32)
AS_JSON = {"accept": "application/json"}


@pytest.fixture
def client() -> Iterator[Client]:
    with serving(max_json_bytes=LIMIT) as client:
        yield client


def body_of(nbytes: int) -> bytes:
    """A step of that length."""
    start = b'{"grads":{"w":[1]},"params":{"w":[1]}'
    return start + b" " * (nbytes - len(start) - 1) + b"}"


@pytest.mark.parametrize("announced", [True, False])
def test_longer_json_is_refused_with_the_way_out(client: Client, announced: bool) -> None:
    session = create(client)
    content: Any = body_of(LIMIT + 1) if announced else iter([body_of(LIMIT + 1)])
    answer = client.post(f"{session}/steps", content=content, headers={"content-type": "application/json"})
    refused = problem(answer, 413, "body_too_large")
    assert refused["limit"] == LIMIT
    assert "application/vnd.safetensors" in refused["detail"]
    assert "OPTIM_MAX_JSON_BYTES" in refused["detail"]


def test_json_of_the_very_limit_is_taken(client: Client) -> None:
    answer = client.post(
        f"{create(client)}/steps", content=body_of(LIMIT), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200


def test_settings_are_json_too(client: Client) -> None:
    content = b'{"optimizer":"sgd"' + b" " * LIMIT + b"}"
    answer = client.post("/v1/sessions", content=content, headers={"content-type": "application/json"})
    assert problem(answer, 413, "body_too_large")["limit"] == LIMIT


def test_longer_safetensors_are_taken(client: Client) -> None:
    params, _ = read_binary(binary_step(client, create(client, "sgd"), {"w": MANY}, {"w": MANY}))
    assert params["w"].shape == MANY.shape


def test_parameters_too_long_for_json_are_read_as_safetensors(client: Client) -> None:
    session = create(client, "sgd", hold_params=True)
    binary_step(client, session, {"w": MANY}, {"w": MANY})
    refused = problem(client.get(f"{session}/params"), 406, "not_acceptable")
    assert refused["limit"] == LIMIT
    assert "as JSON the parameters may have 16000 bytes, the limit is 4096" in refused["detail"]
    read_binary(client.get(f"{session}/params", headers={"accept": SAFETENSORS}))


def test_parameters_that_fit_are_read_as_json(client: Client) -> None:
    session = create(client, "sgd", hold_params=True)
    binary_step(client, session, {"w": MANY[:256]}, {"w": MANY[:256]})
    assert len(client.get(f"{session}/params").json()["params"]["w"]) == 256


def test_a_step_with_too_long_a_json_answer_is_refused(client: Client) -> None:
    session = create(client, "sgd")
    answer = binary_step(client, session, {"w": MANY}, {"w": MANY}, headers=AS_JSON)
    assert problem(answer, 406, "not_acceptable")["limit"] == LIMIT
    assert client.get(session).json()["step"] == 0


def test_a_json_step_gets_a_json_answer_of_any_length(client: Client) -> None:
    grads, params = [0] * 500, [1] * 500
    answer = step(client, create(client, "sgd", hyperparameters={"lr": 0.3}), grads={"w": grads}, params={"w": params})
    assert len(answer.json()["params"]["w"]) == 500
    longer = step(client, create(client, "sgd"), grads={"w": [1] * 500}, params={"w": [1] * 500})
    assert len(longer.content) > len(orjson.dumps({"grads": {"w": [1] * 500}, "params": {"w": [1] * 500}}))
    assert longer.status_code == 200
