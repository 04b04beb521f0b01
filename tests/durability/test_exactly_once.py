"""Retries to two server processes on one store: a step happens once, and all answers are equal."""

import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optim_client._protocol import Request

from tests.durability.twin import SETTINGS, Twin
from tests.durability.wire import JSON, Wire, assert_replay, code_of, was_replayed


@pytest.fixture(params=[False, True], ids=["sent", "held"])
def hold_params(request: pytest.FixtureRequest) -> bool:
    """Return False and True in turn: parameters sent with each step, and parameters held by the session."""
    return bool(request.param)


@pytest.fixture
def twin(wires: list[Wire], hold_params: bool) -> Twin:
    return Twin(wires[0], hold_params=hold_params)


def test_two_processes_behave_as_one(wires: list[Wire], twin: Twin) -> None:
    alone = Twin(wires[0], hold_params=twin.config.hold_params)
    for number in range(1, 41):
        near, far = wires[number % 2], wires[1 - number % 2]
        request = twin.request()
        answer = near.send(request)
        for wire in (far, near):
            assert_replay(wire.send(request), answer)
        by_one = wires[0].send(alone.request())
        assert by_one.body == answer.body  # with the digest of the state
        twin.take(answer)
        alone.take(by_one)
    for wire in wires:
        twin.check(wire)


def test_a_repeated_skipped_step_changes_nothing(wires: list[Wire], twin: Twin) -> None:
    twin.take(wires[0].send(twin.request()))
    bad = twin.grads()
    bad["weight"][0, 0] = np.nan
    request = twin.request(bad)
    answer = wires[0].send(request)
    assert twin.take(answer, bad).skipped
    for wire in wires:
        assert_replay(wire.send(request), answer)
    twin.take(wires[1].send(twin.request()))
    twin.check(wires[0])


def test_a_later_setting_does_not_change_a_replay(wires: list[Wire], twin: Twin) -> None:
    for _ in range(3):
        request = twin.request()
        answer = wires[0].send(request)
        wires[1].ask("PATCH", twin.path, {"hyperparameters": {"lr": 0.5}, "schedule": None, "clip": None})
        wires[1].ask("PATCH", twin.path, {"hyperparameters": {"weight_decay": 0.5}})
        for wire in wires:
            assert_replay(wire.send(request), answer)
        wires[0].ask("PATCH", twin.path, {key: SETTINGS[key] for key in ("hyperparameters", "schedule", "clip")})
        wires[0].ask("PATCH", twin.path, {"hyperparameters": {"weight_decay": None}})
        twin.take(answer)
    twin.check(wires[1])


def test_both_refuse_an_older_key_and_another_body(wires: list[Wire], twin: Twin) -> None:
    requests = []
    for i in range(4):
        requests.append(twin.request())
        twin.take(wires[i % 2].send(requests[-1]))
    other_body = replace(requests[-1], body=requests[0].body)
    for wire in wires:
        refused = wire.send(requests[0])
        assert (refused.status, code_of(refused)) == (409, "step_conflict")
        assert json.loads(refused.body)["applied_as_step"] == 1
        assert code_of(wire.send(other_body)) == "idempotency_mismatch"
    twin.check(wires[0])


@pytest.mark.parametrize("form", ["list", "data", "base64"])
@pytest.mark.parametrize("named", ["by its key", "by its number"])
def test_a_repeated_json_step_gets_the_same_bytes(wires: list[Wire], form: str, named: str) -> None:
    session = wires[0].ask("POST", "/v1/sessions", {"optimizer": "adamw", "clip": {"value": 0.1}}, 201)
    params = {"w": as_json([0.1, -0.2], form), "b": as_json([3.0], form)}
    for number in range(1, 4):
        grads = {"w": as_json([0.7, 1 / number], form), "b": as_json([-0.05], form)}
        document = {"params": params, "grads": grads} | ({"step": number} if named == "by its number" else {})
        headers = JSON | ({"idempotency-key": f'"step {number}"'} if named == "by its key" else {})
        request = Request(
            "POST", f"/v1/sessions/{session['id']}/steps", headers=headers, body=json.dumps(document).encode()
        )
        answer = wires[number % 2].send(request)
        assert (answer.status, was_replayed(answer)) == (200, False)
        for wire in wires:
            assert_replay(wire.send(request), answer)
        params = json.loads(answer.body)["params"]


def as_json(values: list[float], form: str) -> Any:
    if form == "list":
        return values
    array = np.array(values, np.float32)
    about = {"dtype": "float32", "shape": array.shape}
    return about | ({"data": array.tolist()} if form == "data" else {"base64": b64encode(array.tobytes()).decode()})
