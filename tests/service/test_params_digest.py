"""The digest of the parameters that a step answers: one for equal parameters, another for any other."""

from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client

from app.checksums import checksums_of, params_digest
from tests.service.calls import SAFETENSORS, binary_step, create, read_binary, serving, step, stepped

W = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32(0.5)}
G = {"w": np.full((2, 3), 0.25, np.float32), "b": np.float32(-1)}


@pytest.fixture
def client() -> Iterator[Client]:
    with serving() as client:
        yield client


def digest(arrays: Mapping[str, Any]) -> str:
    made = {name: np.asarray(array) for name, array in arrays.items()}
    return params_digest(made, checksums_of(made), None)


def listed(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(array).tolist() for name, array in arrays.items()}


def test_every_wire_form_answers_one_digest(client: Client) -> None:
    body = {"params": listed(W), "grads": listed(G)}
    as_json = stepped(client, create(client), **body)["params_digest"]
    answer = step(client, create(client), **body)
    assert answer.json()["params_digest"] == as_json
    params, metadata = read_binary(binary_step(client, create(client), G, W))
    assert metadata["params_digest"] == as_json == digest(params)
    reordered = binary_step(client, create(client), dict(reversed(G.items())), W)
    assert read_binary(reordered)[1]["params_digest"] == as_json
    other = client.post(f"{create(client)}/steps", json=body, headers={"accept": SAFETENSORS})
    assert read_binary(other)[1]["params_digest"] == as_json


@pytest.mark.parametrize("hold", [False, True])
def test_a_replay_answers_the_same_digest(client: Client, hold: bool) -> None:
    session = create(client, hold_params=hold)
    body = {"step": 1, "params": listed(W), "grads": listed(G)}
    first = stepped(client, session, **body)
    assert stepped(client, session, **body) == first
    assert len(first["params_digest"]) == 32
    assert int(first["params_digest"], 16)


def test_held_and_sent_parameters_answer_one_digest(client: Client) -> None:
    sent = stepped(client, create(client), params=listed(W), grads=listed(G))
    held = stepped(client, create(client, hold_params=True), params=listed(W), grads=listed(G))
    assert sent["params_digest"] == held["params_digest"]
    assert sent["digest"] != held["digest"]


def test_a_skipped_step_answers_the_digest_of_what_came(client: Client) -> None:
    session = create(client, on_non_finite="skip")
    bad = {**G, "b": np.float32(np.nan)}
    params, metadata = read_binary(binary_step(client, session, bad, W, step=1))
    assert metadata["skipped"] == "true"
    assert metadata["params_digest"] == digest(W) == digest(params)
    assert read_binary(binary_step(client, session, bad, W, step=1))[1] == metadata


def test_skipped_steps_of_other_shapes_have_digests_of_their_own(client: Client) -> None:
    session, nan = create(client, on_non_finite="skip"), np.float32(np.nan)
    digests = set()
    for shape in ((4,), (2, 2), (1, 4)):
        θ, g = {"w": np.zeros(shape, np.float32)}, {"w": np.full(shape, nan)}
        digests.add(read_binary(binary_step(client, session, g, θ))[1]["params_digest"])
    assert len(digests) == 3


def test_halves_on_the_wire_are_digested_as_answered(client: Client) -> None:
    session = create(client, "sgd", hold_params=True, wire_dtype="bfloat16")
    client.put(f"{session}/params", json={"params": {"w": [1.001, 2]}})
    for dtype in (ml_dtypes.bfloat16, np.float32, ml_dtypes.bfloat16):
        params, metadata = read_binary(binary_step(client, session, {"w": np.zeros(2, dtype)}))
        assert params["w"].dtype == dtype
        assert metadata["params_digest"] == digest(params)


OTHERS: dict[str, Mapping[str, Any]] = {
    "a value": {**W, "b": np.float32(0.25)},
    "a sign of zero": {**W, "w": np.where(W["w"] == 0, np.float32(-0.0), W["w"])},
    "a shape": {**W, "w": W["w"].reshape(3, 2)},
    "a dtype": {**W, "b": np.float16(0.5)},
    "a dtype of the same bytes": {**W, "w": W["w"].view(np.float16)},
    "a name": {"w": W["w"], "c": W["b"]},
    "names that changed places": {"b": W["w"], "w": W["b"]},
    "one tensor less": {"w": W["w"]},
    "none": {},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_any_difference_changes_the_digest(other: Mapping[str, Any]) -> None:
    assert digest(other) != digest(W)


def test_each_byte_of_a_large_tensor_counts() -> None:
    whole = {"w": np.arange(1 << 20, dtype=np.float32), "b": np.zeros(3, np.float16)}
    digests = {digest(whole)}
    for place in (0, 1 << 18, (1 << 20) - 1):
        whole["w"][place] += 0.5
        digests.add(digest(whole))
    assert len(digests) == 4
