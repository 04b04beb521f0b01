"""Parameters that are not those which a session answered last: warned of, accepted or rejected."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client

from app.store.memory import MemoryStore
from tests.service.calls import SAFETENSORS, binary_step, create, problem, read_binary, serving, step, stepped

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
P, G = {"w": [1.0, 2.0], "b": [0.5]}, {"w": [0.5, -0.25], "b": [1.0]}
OTHER = {"w": [1.0, 2.5], "b": [0.5]}


def started(client: Client, **settings: Any) -> tuple[str, dict[str, Any]]:
    """A session with one step, and the parameters that this answered."""
    session = create(client, "sgd", hyperparameters={"lr": 0.5}, **settings)
    return session, stepped(client, session, step=1, params=P, grads=G)["params"]


def warnings(client: Client, session: str) -> list[str]:
    found: list[str] = client.get(session).json()["warnings"]
    return found


def test_other_params_are_warned_of_in_answer_and_session(client: Client) -> None:
    session, answered = started(client)
    answer = stepped(client, session, step=2, params={**answered, "w": OTHER["w"]}, grads=G)
    (line,) = answer["warnings"]
    assert line.startswith("the parameter of 'w' is not the one that was answered for it last")
    assert line.endswith(" (first at step 2)")
    assert warnings(client, session) == [line]
    after = stepped(client, session, step=3, params=answer["params"], grads=G)
    assert after["warnings"] == []
    assert warnings(client, session) == [line]


def test_a_session_keeps_only_the_last_such_warning(client: Client) -> None:
    session, answered = started(client)
    stepped(client, session, step=2, params={**answered, "b": [7.0]}, grads=G)
    said = [stepped(client, session, step=number, params=OTHER, grads=G)["warnings"] for number in (3, 4, 5)]
    (line,) = warnings(client, session)
    assert said == [[line]] * 3
    assert line.startswith("the parameter of 'w', 'b' ")
    assert line.endswith(" (first at step 3)")


def test_rejected_params_change_nothing_and_name_the_tensor(client: Client) -> None:
    session, answered = started(client, on_other_params="reject")
    before = client.get(session)
    refused = step(client, session, "key", step=2, params={**answered, "b": [0.75]}, grads=G)
    document = problem(refused, 409, "params_conflict")
    assert (document["tensor"], document["current_step"]) == ("b", 1)
    assert refused.headers["x-should-retry"] == "false"
    after = client.get(session)
    assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
    assert stepped(client, session, "key", step=2, params=answered, grads=G)["warnings"] == []


def test_accepted_params_are_not_warned_of(client: Client) -> None:
    session, _ = started(client, on_other_params="accept")
    assert stepped(client, session, step=2, params=OTHER, grads=G)["warnings"] == []
    assert warnings(client, session) == []


def test_the_setting_may_be_changed_and_reset(client: Client) -> None:
    session, _ = started(client)
    assert client.get(session).json()["on_other_params"] == "warn"
    stepped(client, session, params=OTHER, grads=G)
    assert len(warnings(client, session)) == 1
    changed = client.patch(session, json={"on_other_params": "accept"}).json()
    assert (changed["on_other_params"], changed["warnings"]) == ("accept", [])
    stepped(client, session, params=P, grads=G)
    assert client.patch(session, json={"on_other_params": "reject"}).json()["on_other_params"] == "reject"
    problem(step(client, session, params=OTHER, grads=G), 409, "params_conflict")
    assert client.patch(session, json={"on_other_params": None}).json()["on_other_params"] == "warn"
    assert len(stepped(client, session, params=OTHER, grads=G)["warnings"]) == 1


@pytest.mark.parametrize("value", ["ignore", 1, True, ["warn"], {}, ""])
def test_another_value_of_the_setting_is_refused(client: Client, value: Any) -> None:
    answer = client.post("/v1/sessions", json={"optimizer": "sgd", "on_other_params": value})
    assert problem(answer, 422, "invalid_session")["where"] == "on_other_params"
    problem(client.patch(create(client), json={"on_other_params": value}), 422, "invalid_session")


def test_the_digest_has_the_setting_unless_it_is_default(client: Client) -> None:
    digests = [client.get(create(client, **settings)).json()["digest"]
               for settings in ({}, {"on_other_params": "warn"}, {"on_other_params": "reject"})]  # fmt: skip
    assert digests[0] == digests[1] != digests[2]


def test_a_state_file_carries_the_setting(client: Client) -> None:
    session, _ = started(client, on_other_params="reject")
    file = client.get(f"{session}/state").content
    other = create(client, "sgd")
    assert client.put(f"{other}/state", content=file, headers={"content-type": SAFETENSORS}).status_code == 204
    assert client.get(other).json()["on_other_params"] == "warn"


def test_the_first_parameter_of_a_tensor_is_free(client: Client) -> None:
    session, answered = started(client, on_other_params="reject")
    more = stepped(client, session, step=2, params={**answered, "late": [7.0]}, grads={**G, "late": [1.0]})["params"]
    stepped(client, session, step=3, params={"late": more["late"]}, grads={"late": [1.0]})
    refused = step(client, session, step=4, params={"late": [7.0]}, grads={"late": [1.0]})
    assert problem(refused, 409, "params_conflict")["tensor"] == "late"
    stepped(client, session, step=4, params={"w": more["w"]}, grads={"w": [1.0, 1.0]})


def test_after_a_state_is_loaded_every_parameter_is_free(client: Client) -> None:
    session, _ = started(client, on_other_params="reject")
    file = client.get(f"{session}/state").content
    stepped(client, session, step=2, params=client_params(client, session), grads=G)
    assert client.put(f"{session}/state", content=file, headers={"content-type": SAFETENSORS}).status_code == 204
    stepped(client, session, step=2, params=OTHER, grads=G)


def client_params(client: Client, session: str) -> dict[str, Any]:
    """Return the parameters that a client has after `started`."""
    replayed = stepped(client, session, step=1, params=P, grads=G)
    found: dict[str, Any] = replayed["params"]
    return found


def test_a_wrong_shape_is_named_before_other_params(client: Client) -> None:
    session, answered = started(client, on_other_params="reject")
    bad = {**answered, "w": [1.0, 2.0, 3.0]}
    problem(step(client, session, step=2, params=bad, grads={**G, "w": [1, 1, 1]}), 422, "tensor_mismatch")


def test_a_replay_is_no_conflict_and_says_the_same(client: Client) -> None:
    store = MemoryStore(100)
    body = {"step": 2, "params": OTHER, "grads": G}
    with serving(store) as first:
        session, _ = started(first)
        answer = step(first, session, "two", **body)
        assert len(answer.json()["warnings"]) == 1
        assert step(first, session, "two", **body).content == answer.content
        first.patch(session, json={"on_other_params": "reject"})
        assert step(first, session, **body).content == answer.content
    with serving(store) as second:
        again = step(second, session, "two", **body)
        assert (again.content, again.headers["idempotent-replayed"]) == (answer.content, "true")
        as_binary = second.post(f"{session}/steps", json=body, headers={"accept": SAFETENSORS})
        assert json.loads(read_binary(as_binary)[1]["warnings"]) == answer.json()["warnings"]


@pytest.mark.parametrize("place", ["memory", "lmdb"])
def test_another_process_knows_what_was_answered(tmp_path: Path, place: str) -> None:
    store = MemoryStore(100) if place == "memory" else None
    start = partial(serving, store, store="memory:" if store else f"lmdb:{tmp_path}")
    with start() as client:
        session, answered = started(client, on_other_params="reject")
    with start() as client:
        problem(step(client, session, step=2, params=OTHER, grads=G), 409, "params_conflict")
        answered = stepped(client, session, step=2, params=answered, grads=G)["params"]
    with start() as client:
        problem(step(client, session, step=3, params=P, grads=G), 409, "params_conflict")
        stepped(client, session, step=3, params=answered, grads=G)


BAD = {**G, "b": {"dtype": "float32", "shape": [1], "base64": "AADAfw=="}}


@pytest.mark.parametrize("restart", [False, True])
def test_a_skipped_step_answers_what_came_and_that_counts(restart: bool) -> None:
    store = MemoryStore(100)
    with serving(store) as client:
        session, answered = started(client, on_non_finite="skip")
        skipped = stepped(client, session, step=2, params=OTHER, grads=BAD)
        assert (skipped["skipped"], skipped["params"]["w"], len(skipped["warnings"])) == (True, OTHER["w"], 1)
        assert stepped(client, session, step=2, params=OTHER, grads=BAD) == skipped
    with serving(store if restart else MemoryStore(100)) as client:
        if not restart:
            session, answered = started(client, on_non_finite="skip")
            stepped(client, session, step=2, params=OTHER, grads=BAD)
        assert len(stepped(client, session, step=2, params=answered, grads=BAD)["warnings"]) == 1
        assert stepped(client, session, step=2, params=answered, grads=G)["warnings"] == []


@pytest.mark.parametrize("restart", [False, True])
def test_what_a_skipped_first_step_answered_counts_too(restart: bool) -> None:
    store = MemoryStore(100)
    with serving(store) as client:
        session = create(client, "sgd", on_non_finite="skip", on_other_params="reject")
        stepped(client, session, step=1, params=P, grads=BAD)
        if not restart:
            problem(step(client, session, step=1, params=OTHER, grads=G), 409, "params_conflict")
    with serving(store) as client:
        problem(step(client, session, step=1, params=OTHER, grads=G), 409, "params_conflict")
        stepped(client, session, step=1, params=P, grads=G)


def written(array: np.ndarray[Any, Any], form: str) -> Any:
    about = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if form == "base64":
        return {**about, "base64": b64encode(array.tobytes()).decode()}
    wide = array.astype(np.float64)
    return wide.tolist() if form == "list" else {**about, "data": wide.reshape(-1).tolist()}


FORMS = [("list", "float32"), *((form, dtype) for form in ("data", "base64", "binary") for dtype in DTYPES)]


@pytest.mark.parametrize(("form", "dtype"), FORMS)
def test_parameters_that_travel_unchanged_are_not_warned_of(client: Client, form: str, dtype: str) -> None:
    session = create(client, "adamw", on_other_params="reject", hyperparameters={"lr": 0.3})
    params: Mapping[str, Any] = {
        "w": np.array([1 / 3, -0.0, 2e-7, 3e4], DTYPES[dtype]),
        "b": np.array(0.1, DTYPES[dtype]),
    }
    grads = {"w": np.array([0.1, 0, -0.3, 7], DTYPES[dtype]), "b": np.array(-1, DTYPES[dtype])}
    for _ in range(4):
        if form == "binary":
            params, metadata = read_binary(binary_step(client, session, grads, params))
            assert metadata["warnings"] == "[]"
            continue
        body = {what: {name: written(array, form) for name, array in arrays.items()}
                for what, arrays in (("params", params), ("grads", grads))}  # fmt: skip
        answer = stepped(client, session, **body)
        assert answer["warnings"] == []
        params = {name: read_back(tensor, DTYPES[dtype]) for name, tensor in answer["params"].items()}


def read_back(tensor: Any, dtype: Any) -> np.ndarray[Any, Any]:
    if isinstance(tensor, dict) and "base64" in tensor:
        return np.frombuffer(b64decode(tensor["base64"]), np.uint8).view(dtype).reshape(tensor["shape"])
    if isinstance(tensor, dict):
        return np.array(tensor["data"], dtype).reshape(tensor["shape"])
    return np.array(tensor, dtype)


def as_javascript(answer: httpx2.Response) -> Any:
    """The parameters as JSON.stringify writes what JSON.parse has read: without the sign of zero."""
    return json.loads(answer.text.replace("-0.0", "0"))["params"]


@pytest.mark.parametrize("size", [3, 300_000])
def test_the_sign_of_a_zero_may_be_lost(client: Client, size: int) -> None:
    session = create(client, "sgd", on_other_params="reject", hyperparameters={"lr": 0.0})
    body: dict[str, Any] = {"params": {"w": [-0.0] * size, "b": 1.5}, "grads": {"w": [1] * size, "b": 1}}
    first = step(client, session, **body)
    assert '"w":[-0.0,-0.0' in first.text
    second = step(client, session, params=as_javascript(first), grads=body["grads"])
    assert second.json()["warnings"] == []
    third = step(client, session, params=first.json()["params"], grads=body["grads"])
    assert third.json()["warnings"] == []
    other = {**body["params"], "w": [1e-45] + [-0.0] * (size - 1)}
    problem(step(client, session, params=other, grads=body["grads"]), 409, "params_conflict")


def test_the_bits_of_a_nan_may_be_lost(client: Client) -> None:
    session = create(client, "sgd", on_other_params="reject", hyperparameters={"lr": 0.0})
    bits = np.array([0x7FC00001, 0xFFC00000, 0x3F800000], np.uint32).view(np.float32)
    grads = {"w": np.zeros(3, np.float32)}
    answered, _ = read_binary(binary_step(client, session, grads, {"w": bits}))
    plain = np.where(np.isnan(answered["w"]), np.float32(np.nan), answered["w"])
    read_binary(binary_step(client, session, grads, {"w": plain}))
    refused = binary_step(client, session, grads, {"w": np.float32([np.nan, np.nan, 2])})
    problem(refused, 409, "params_conflict")


def test_a_session_that_holds_its_parameters_has_no_others(client: Client) -> None:
    session = create(client, "sgd", hold_params=True, on_other_params="reject")
    stepped(client, session, params=P, grads=G)
    assert client.put(f"{session}/params", json={"params": OTHER}).status_code == 204
    assert stepped(client, session, grads=G)["warnings"] == []
