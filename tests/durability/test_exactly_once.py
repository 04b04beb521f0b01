"""Two server processes on one store: whoever is asked, and however often, a step happens once and is answered alike."""

import json
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest
from optim_client._protocol import Request, Response

from tests.durability.twin import SETTINGS, Twin
from tests.durability.wire import JSON, Wire, assert_replay, code_of, was_replayed

CLIENTS = 8
ROUNDS = 20


@pytest.fixture(params=[False, True], ids=["sent", "held"])
def hold_params(request: pytest.FixtureRequest) -> bool:
    """Parameters that come with each step, and parameters that the session holds."""
    return bool(request.param)


@pytest.fixture
def twin(wires: list[Wire], hold_params: bool) -> Twin:
    return Twin(wires[0], hold_params=hold_params)


def test_two_processes_are_as_one(wires: list[Wire], twin: Twin) -> None:
    alone = Twin(wires[0], hold_params=twin.config.hold_params)
    for number in range(1, 41):
        near, far = wires[number % 2], wires[1 - number % 2]
        request = twin.request()
        answer = near.send(request)
        for wire in (far, near):
            assert_replay(wire.send(request), answer)
        by_one = wires[0].send(alone.request())
        assert by_one.body == answer.body  # the digest of the state included
        twin.take(answer)
        alone.take(by_one)
    for wire in wires:
        twin.check(wire)


@pytest.mark.parametrize("processes", [1, 2])
def test_of_eight_clients_that_race_for_a_step_one_wins(wires: list[Wire], twin: Twin, processes: int) -> None:
    ports = [wires[i % processes].connection.port for i in range(CLIENTS)]
    with Race(ports) as race:
        for number in range(1, ROUNDS + 1):
            grads = [twin.grads(seed) for seed in range(CLIENTS)]
            answers = race.send([twin.request(g) for g in grads])
            assert Counter(map(code_of, answers)) == {None: 1, "step_conflict": CLIENTS - 1}
            winner = next(i for i, answer in enumerate(answers) if answer.status == 200)
            for loser in answers[:winner] + answers[winner + 1 :]:
                assert loser.status == 409
                assert loser.headers["x-should-retry"] == "false"
                assert json.loads(loser.body)["current_step"] == number
            twin.take(answers[winner], grads[winner])
    twin.check(wires[1])


def test_of_eight_tries_of_one_request_at_once_one_is_done(wires: list[Wire], twin: Twin) -> None:
    with Race([wires[i % 2].connection.port for i in range(CLIENTS)]) as race:
        for _ in range(ROUNDS):
            answers = race.send([twin.request()] * CLIENTS)
            assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
            assert Counter(map(was_replayed, answers)) == {False: 1, True: CLIENTS - 1}
            twin.take(answers[0])
    twin.check(wires[1])


def test_a_skipped_step_is_answered_again_and_moves_nothing(wires: list[Wire], twin: Twin) -> None:
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


def test_a_setting_that_changes_in_between_does_not_change_the_answer(wires: list[Wire], twin: Twin) -> None:
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


def test_an_older_key_and_another_body_are_refused_by_both(wires: list[Wire], twin: Twin) -> None:
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
def test_a_step_in_json_is_answered_again_in_the_same_bytes(wires: list[Wire], form: str, named: str) -> None:
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


class Race:
    """Clients with a connection each, who send at the same moment."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._wires = [Wire(port) for port in ports]
        self._start = threading.Barrier(len(ports))
        self._pool = ThreadPoolExecutor(len(ports))

    def send(self, requests: Sequence[Request]) -> list[Response]:
        return list(self._pool.map(self._send, self._wires, requests))

    def _send(self, wire: Wire, request: Request) -> Response:
        self._start.wait()
        return wire.send(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for wire in self._wires:
            wire.close()
