"""Sessions with a wire dtype: arrays travel in halves, and the session holds float32."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client
from optim_client._tensors import Arrays, decode

from app.store.memory import MemoryStore
from optim_engine import Config, State
from optim_engine import step as engine_step
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, binary_step, bits, create, problem, read_binary, serving, stepped

WIRE = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
BINARY = {"content-type": SAFETENSORS, "accept": SAFETENSORS}
each_wire_dtype = pytest.mark.parametrize("wire", WIRE)


def some_params() -> Arrays:
    draw = np.random.default_rng(0).standard_normal
    return {"w": draw((3, 2), np.float32), "bias": draw(2, np.float32), "scale": np.asarray(0.5, np.float32)}


def some_grads(number: int) -> Arrays:
    draw = np.random.default_rng(number).standard_normal
    return {name: np.asarray(draw(θ.shape), np.float32) for name, θ in some_params().items()}


def cast(arrays: Arrays, dtype: Any) -> Arrays:
    return {name: array.astype(dtype) for name, array in arrays.items()}


def after(steps: int, wire: str) -> Arrays:
    """Return the float32 parameters after steps of gradients that were rounded on their way."""
    config, state, params = Config.parse("adamw"), State.empty(), some_params()
    for number in range(1, steps + 1):
        outcome = engine_step(config, state, params, cast(cast(some_grads(number), WIRE[wire]), np.float32))
        state, params = outcome.state, outcome.params
    return params


def held(client: Client, session: str) -> Arrays:
    return read_binary(client.get(f"{session}/params", headers={"accept": SAFETENSORS}))[0]


def put(client: Client, session: str, params: Arrays) -> None:
    assert client.put(f"{session}/params", content=encode({"params": params}, {}), headers=BINARY).status_code == 204


@each_wire_dtype
def test_halves_travel_both_ways_across_a_restart(store_url: str, wire: str) -> None:
    store = MemoryStore(100) if store_url == "memory:" else None
    with serving(store, store=store_url) as client:
        session = create(client, hold_params=True, wire_dtype=wire)
        first = binary_step(client, session, cast(some_grads(1), WIRE[wire]), some_params())
        assert bits(read_binary(first)[0]) == bits(cast(after(1, wire), WIRE[wire]))
        second = binary_step(client, session, cast(some_grads(2), WIRE[wire]), step=2)
    with serving(store, store=store_url) as client:
        again = binary_step(client, session, cast(some_grads(2), WIRE[wire]), step=2)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.content == second.content
        assert bits(held(client, session)) == bits(after(2, wire))
        assert {tensor["dtype"] for tensor in client.get(session).json()["tensors"].values()} == {"float32"}


def test_each_tensor_is_answered_in_the_dtype_of_its_gradient(client: Client) -> None:
    session = create(client, hold_params=True, wire_dtype="bfloat16")
    put(client, session, some_params())
    grads = some_grads(1) | {"w": some_grads(1)["w"].astype(ml_dtypes.bfloat16)}
    answered = read_binary(binary_step(client, session, grads))[0]
    assert {name: array.dtype.name for name, array in answered.items()} == {
        "w": "bfloat16", "bias": "float32", "scale": "float32",
    }  # fmt: skip


@each_wire_dtype
def test_json_objects_name_the_dtype_and_lists_are_float32(client: Client, wire: str) -> None:
    session = create(client, hold_params=True, wire_dtype=wire)
    half = np.array([0.5, -0.25], WIRE[wire])
    named = {"dtype": wire, "shape": [2]}
    grads = {
        "list": [0.5, -0.25],
        "data": {**named, "data": [0.5, -0.25]},
        "base64": {**named, "base64": b64encode(half.tobytes()).decode()},
    }
    params = {name: [1.0, 2.0] for name in grads}
    for number in (1, 2):
        body = {"params": params, "grads": grads} if number == 1 else {"grads": grads}
        answered = stepped(client, session, **body)["params"]
        exact = held(client, session)
        assert answered["list"] == [float(str(x)) for x in exact["list"]]
        data = np.array(answered["data"].pop("data"), np.float32)
        assert answered["data"] == named
        assert data.tolist() == exact["data"].astype(WIRE[wire]).astype(np.float32).tolist()
    rounded = exact["base64"].astype(WIRE[wire])
    assert answered["base64"] == {**named, "base64": b64encode(rounded.tobytes()).decode()}


def test_a_parameter_beyond_float16_is_answered_infinite_but_held(client: Client) -> None:
    session = create(client, hold_params=True, wire_dtype="float16", hyperparameters={"lr": 0})
    put(client, session, {"x": np.array([70000, -1], np.float32)})
    grads = {"x": {"dtype": "float16", "shape": [2], "data": [1, 1]}}
    infinite = np.array([np.inf, -1], np.float16)
    assert stepped(client, session, grads=grads)["params"]["x"]["base64"] == b64encode(infinite.tobytes()).decode()
    assert held(client, session)["x"].tolist() == [70000, -1]


@each_wire_dtype
def test_uploaded_halves_are_held_as_float32(client: Client, wire: str) -> None:
    session = create(client, hold_params=True, wire_dtype=wire)
    halves = cast(some_params(), WIRE[wire])
    put(client, session, halves)
    assert bits(held(client, session)) == bits(cast(halves, np.float32))
    put(client, session, some_params())
    put(client, session, {"scale": halves["scale"]})
    assert bits(held(client, session)) == bits(some_params() | {"scale": halves["scale"].astype(np.float32)})


def test_the_wire_dtype_is_echoed_and_wrong_ones_are_refused(client: Client) -> None:
    assert client.get(create(client, hold_params=True, wire_dtype="float16")).json()["wire_dtype"] == "float16"
    assert client.get(create(client, hold_params=True, wire_dtype=None)).json()["wire_dtype"] is None
    for wrong, said in (
        ({"wire_dtype": "bfloat16"}, "bfloat16 needs `hold_params` true"),
        ({"wire_dtype": "int8", "hold_params": True}, "'int8' is unknown; expected one of bfloat16, float16"),
    ):
        answer = client.post("/v1/sessions", json={"optimizer": "adamw", **wrong})
        assert said in problem(answer, 422, "invalid_session")["detail"]


def test_the_wire_dtype_cannot_be_changed(client: Client) -> None:
    session = create(client, hold_params=True, wire_dtype="float16")
    answer = client.patch(session, json={"wire_dtype": None})
    assert (
        "wire_dtype: cannot be changed, so create a new session; expected one of hyperparameters, "
        in problem(answer, 422, "invalid_session")["detail"]
    )
    assert client.patch(session, json={"clip": {"value": 1}}).json()["wire_dtype"] == "float16"


def test_a_gradient_in_a_third_dtype_is_refused(client: Client) -> None:
    session = create(client, hold_params=True, wire_dtype="bfloat16")
    put(client, session, {"x": np.ones(2, np.float32)})
    said = problem(binary_step(client, session, {"x": np.ones(2, np.float16)}), 422, "tensor_mismatch")
    assert (said["expected"], said["got"]) == ("float32 [2]", "float16 [2]")
    assert said["detail"] == (
        "tensor 'x': the gradient is float16 [2], the session has it as float32 [2]: send float32 or bfloat16"
    )
    twice = {"d": np.ones(2)}
    put(client, session, twice)
    said = problem(binary_step(client, session, {"d": np.ones(2, np.float32)}), 422, "tensor_mismatch")
    assert said["detail"].endswith("the session has it as float64 [2]: send float64")


@pytest.mark.parametrize("other", [None, "bfloat16"])
def test_a_state_file_has_float32_and_fits_any_wire_dtype(client: Client, other: str | None) -> None:
    session = create(client, hold_params=True, wire_dtype="float16")
    binary_step(client, session, cast(some_grads(1), np.float16), some_params())
    file = client.get(f"{session}/state", headers=BINARY).content
    assert bits(decode(file, "params")[0]) == bits(after(1, "float16"))
    into = create(client, hold_params=True, wire_dtype=other)
    assert client.put(f"{into}/state", content=file, headers=BINARY).status_code == 204
    widened = cast(cast(some_grads(2), np.float16), np.float32)
    assert bits(read_binary(binary_step(client, into, widened))[0]) == bits(after(2, "float16"))


def test_a_skipped_step_and_its_replay_answer_held_parameters_rounded(tmp_path: Path) -> None:
    with serving(store=f"lmdb:{tmp_path}") as client:
        session = create(client, hold_params=True, wire_dtype="bfloat16", on_non_finite="skip")
        bad = cast(some_grads(1), ml_dtypes.bfloat16)
        bad["bias"][1] = np.nan
        skipped = binary_step(client, session, bad, some_params(), step=1)
        params, said = read_binary(skipped)
        assert said["skipped"] == "true"
        assert bits(params) == bits(cast(some_params(), ml_dtypes.bfloat16))
    with serving(store=f"lmdb:{tmp_path}") as client:
        assert binary_step(client, session, bad, some_params(), step=1).content == skipped.content
        assert bits(held(client, session)) == bits(some_params())


def test_the_wire_dtype_changes_digests_only_where_it_is_set(
    client: Client,
) -> None:
    digests = {
        wire: client.get(create(client, hold_params=True, wire_dtype=wire)).json()["digest"] for wire in (None, *WIRE)
    }
    assert len(set(digests.values())) == 3
    assert client.get(create(client, hold_params=True)).json()["digest"] == digests[None]
