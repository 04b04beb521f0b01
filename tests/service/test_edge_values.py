"""Numbers at the edge: NaN, ±∞, -0 and the smallest ones come out as they went in, by every way out of the service."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client

from tests.bodies import encode
from tests.service.calls import SAFETENSORS, binary_step, bits, create, read_binary, stepped
from tests.service.test_steps import read, written

FLOAT32 = np.array([0x7FC00000, 0xFFC12345, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x807FFFFF, 0x3F800000], np.uint32)
"""NaN, a NaN with a sign and a payload, ±∞, -0, the smallest number, the largest subnormal one, 1."""
EDGES: dict[str, Any] = {
    "float32": FLOAT32.view(np.float32),
    "float64": np.array([np.nan, -np.inf, -0.0, 5e-324, 1.7976931348623157e308]),
    "float16": np.array([0x7E01, 0x7C00, 0x8000, 1], np.uint16).view(np.float16),
    "bfloat16": np.array([0x7FC1, 0xFF80, 0x8000, 1], np.uint16).view(ml_dtypes.bfloat16),
}
FINITE = {name: array[np.isfinite(array.astype(np.float64))] for name, array in EDGES.items()}

Params = Callable[[Client, str], dict[str, Any]]


def as_json(client: Client, session: str) -> dict[str, Any]:
    answer = client.get(f"{session}/params")
    assert "null" not in answer.text
    return {name: read(tensor) for name, tensor in answer.json()["params"].items()}


def as_safetensors(client: Client, session: str) -> dict[str, Any]:
    return read_binary(client.get(f"{session}/params", headers={"accept": SAFETENSORS}))[0]


def as_state(client: Client, session: str) -> dict[str, Any]:
    return read_binary(client.get(f"{session}/state"))[0]


def after_a_restore(client: Client, session: str) -> dict[str, Any]:
    other = create(client, "sgd", hold_params=True)
    file = client.get(f"{session}/state").content
    assert client.put(f"{other}/state", content=file, headers={"content-type": SAFETENSORS}).status_code == 204
    return as_safetensors(client, other)


@pytest.mark.parametrize("way", [as_json, as_safetensors, as_state, after_a_restore])
def test_held_parameters_come_out_to_the_bit(client: Client, way: Params) -> None:
    session = create(client, "sgd", hold_params=True)
    body = encode({"params": EDGES}, {})
    assert client.put(f"{session}/params", content=body, headers={"content-type": SAFETENSORS}).status_code == 204
    assert bits(way(client, session)) == bits(EDGES)


@pytest.mark.parametrize("hold_params", [False, True])
def test_a_step_of_nothing_answers_parameters_to_the_bit(client: Client, hold_params: bool) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 0}, hold_params=hold_params)
    nothing = {name: np.zeros_like(array) for name, array in FINITE.items()}
    assert bits(read_binary(binary_step(client, session, nothing, FINITE))[0]) == bits(FINITE)


@pytest.mark.parametrize("form", ["list", "data", "base64"])
def test_a_number_in_json_keeps_its_bits_through_a_step(client: Client, form: str) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 0})
    params = {name: array for name, array in FINITE.items() if form != "list" or name == "float32"}
    sent = {name: written(array, form) for name, array in params.items()}
    nothing = {name: written(np.zeros_like(array), form) for name, array in params.items()}
    answer = stepped(client, session, params=sent, grads=nothing)["params"]
    assert bits({name: read(tensor) for name, tensor in answer.items()}) == bits(params)


@pytest.mark.parametrize("form", ["list", "data", "base64"])
def test_an_overflowed_parameter_is_answered_and_held_in_base64(client: Client, form: str) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 1e30}, hold_params=True)
    large = {"w": written(np.float32([1e30, -1e30]), form)}
    first = stepped(client, session, params=large, grads=large)
    assert first["params"]["w"].keys() == {"dtype", "shape", "base64"}
    assert read(first["params"]["w"]).tolist() == [-np.inf, np.inf]
    assert bits(as_json(client, session)) == bits({"w": np.float32([-np.inf, np.inf])})
    again = stepped(client, session, grads=large)
    assert read(again["params"]["w"]).tolist() == [-np.inf, np.inf]
    assert again["metrics"]["param_norm"] == "Infinity"
