"""First tries that arrive after their retries.

One server process freezes with a request in its socket, the retry goes to the other, training continues there, and then
the first one thaws.
"""

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPResponse
from typing import Any

import numpy as np
import pytest
from optim_client._protocol import Request, Response

from tests.bodies import encode
from tests.durability.processes import ServerProcess
from tests.durability.wire import JSON, Wire, bytes_of, code_of, was_replayed
from tests.service.calls import SAFETENSORS

KEY = {"idempotency-key": '"late"'}
GRADS = {"grads": {"w": [1.0, 1.0]}}


@contextmanager
def frozen(server: ServerProcess) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def sent(server: ServerProcess, request: Request) -> Iterator[HTTPResponse]:
    """Send the request; yield its answer, which may come later."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(b"".join(bytes_of(request)))
        yield HTTPResponse(client, method=request.method)


def late(answer: HTTPResponse) -> Response:
    answer.begin()
    return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


@pytest.fixture
def session(wires: list[Wire]) -> str:
    """Create a session at step 1 that holds its parameters; return its path."""
    document = {"optimizer": "adam", "hyperparameters": {"lr": 0.1}, "hold_params": True}
    session = f"/v1/sessions/{wires[0].ask('POST', '/v1/sessions', document, 201)['id']}"
    wires[0].ask("POST", f"{session}/steps", GRADS | {"params": {"w": [0.0, 0.0]}})
    return session


def write_of(kind: str, session: str, wire: Wire) -> Request:
    if kind == "PATCH":
        return Request("PATCH", session, headers=JSON, body=json.dumps({"hyperparameters": {"lr": 1.0}}).encode())
    if kind == "a step":
        return Request("POST", f"{session}/steps", headers=JSON, body=json.dumps(GRADS).encode())
    binary = {"content-type": SAFETENSORS}
    if kind == "PUT params":
        return Request(
            "PUT", f"{session}/params", headers=binary, body=encode({"params": {"w": np.full(2, 5, np.float32)}}, {})
        )
    state = wire.send(Request("GET", f"{session}/state")).body
    return Request("PUT", f"{session}/state", headers=binary, body=bytes(state))


def looked_at(wire: Wire, session: str) -> tuple[str, Any]:
    answer = wire.send(Request("GET", session))
    return answer.headers["etag"], wire.ask("GET", f"{session}/params")


@pytest.fixture(params=["PATCH", "PUT params", "PUT state", "a step"])
def write(request: pytest.FixtureRequest, session: str, wires: list[Wire]) -> Request:
    return write_of(request.param, session, wires[0])


def test_a_first_try_after_its_retry_changes_nothing(
    write: Request, session: str, pair: list[ServerProcess], wires: list[Wire]
) -> None:
    asleep, awake = pair[0], wires[1]
    keyed = replace(write, headers={**write.headers, **KEY})
    with frozen(asleep), sent(asleep, keyed) as answer:
        retry = awake.send(keyed)
        assert (retry.status < 300, was_replayed(retry)) == (True, False), retry.body
        for _ in range(3):
            awake.ask("POST", f"{session}/steps", GRADS)
        awake.ask("PATCH", session, {"hyperparameters": {"lr": 0.01}})
        before = looked_at(awake, session)
        os.kill(asleep.pid, signal.SIGCONT)
        found = late(answer)
    if write.path.endswith("steps"):
        assert code_of(found) == "step_conflict"
        assert json.loads(found.body)["applied_as_step"] == 2
    else:
        assert (found.status, was_replayed(found)) == (retry.status, True)
    assert looked_at(awake, session) == before


def test_a_late_try_on_another_state_is_refused(
    write: Request, session: str, pair: list[ServerProcess], wires: list[Wire]
) -> None:
    asleep, awake = pair[0], wires[1]
    etag = looked_at(awake, session)[0]
    with frozen(asleep), sent(asleep, replace(write, headers={**write.headers, "if-match": etag})) as answer:
        awake.ask("POST", f"{session}/steps", GRADS)
        before = looked_at(awake, session)
        os.kill(asleep.pid, signal.SIGCONT)
        assert code_of(late(answer)) == "precondition_failed"
    assert looked_at(awake, session) == before


def test_a_late_deletion_of_another_state_is_refused(
    session: str, pair: list[ServerProcess], wires: list[Wire]
) -> None:
    etag = looked_at(wires[1], session)[0]
    with frozen(pair[0]), sent(pair[0], Request("DELETE", session, headers={"if-match": etag})) as answer:
        wires[1].ask("POST", f"{session}/steps", GRADS)
        os.kill(pair[0].pid, signal.SIGCONT)
        assert code_of(late(answer)) == "precondition_failed"
    wires[1].ask("GET", session)


def test_a_late_creation_makes_no_second_session(pair: list[ServerProcess], wires: list[Wire]) -> None:
    creation = Request(
        "POST", "/v1/sessions", headers=JSON | {"idempotency-key": '"late run"'}, body=b'{"optimizer":"sgd"}'
    )
    with frozen(pair[0]), sent(pair[0], creation) as answer:
        made = wires[1].send(creation)
        os.kill(pair[0].pid, signal.SIGCONT)
        again = late(answer)
    assert (made.status, again.status, was_replayed(again)) == (201, 201, True)
    assert made.body == again.body


def raced(pair: list[ServerProcess], request: Request) -> list[Response]:
    """Send one request many times at once to both processes; return the answers."""
    ports = [server.port for server in pair]

    def send(port: int) -> Response:
        with Wire(port) as wire:
            return wire.send(request)

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(send, ports * 8))


@pytest.mark.parametrize("run", range(5))
def test_many_creations_with_one_key_make_one_session(run: int, pair: list[ServerProcess], wires: list[Wire]) -> None:
    headers = JSON | {"idempotency-key": f'"race {run}"'}
    request = Request("POST", "/v1/sessions", headers=headers, body=b'{"optimizer":"sgd","labels":{"race":"%d"}}' % run)
    answers = raced(pair, request)
    assert {answer.status for answer in answers} == {201}
    assert len({json.loads(answer.body)["id"] for answer in answers}) == 1
    assert [was_replayed(answer) for answer in answers].count(False) == 1
    assert len(wires[0].ask("GET", f"/v1/sessions?label=race:{run}")["sessions"]) == 1


def test_many_writes_with_one_key_are_done_once(
    write: Request, session: str, pair: list[ServerProcess], wires: list[Wire]
) -> None:
    keyed = replace(write, headers={**write.headers, "idempotency-key": '"race"'})
    version = version_of(looked_at(wires[0], session)[0])
    answers = raced(pair, keyed)
    assert {answer.status for answer in answers} == {204 if write.method == "PUT" else 200}
    assert [was_replayed(answer) for answer in answers].count(False) == 1
    assert version_of(looked_at(wires[1], session)[0]) == version + 1


def version_of(etag: str) -> int:
    """Return the number of saves so far."""
    return int(etag.strip('"').split("-")[0])
