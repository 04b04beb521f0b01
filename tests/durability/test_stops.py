"""SIGTERM under load: no step is lost, and the process ends by itself with status 0."""

import http.client
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
from optim_client._protocol import Response

from tests.amounts import WHOLE
from tests.chaos.trial import Trial
from tests.durability.load import Load
from tests.durability.processes import ServerProcess, servers
from tests.durability.twin import Twin
from tests.durability.wire import Wire, assert_replay, half_sent

SHUTDOWN_SECONDS = 30.0
"""`OPTIM_SHUTDOWN_SECONDS`, by default."""
SLOW_SECONDS = 0.5
"""The delay of a body's second half, long after idle connections were closed."""
PLACES = {"lmdb": ("lmdb", 1, 40), "redis": ("redis", 1, 40), "two workers": ("lmdb", 2, 20)}
"""By name: the store, the number of workers, and of stops."""


@pytest.mark.requirement("R14", "R2")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.long
def test_stops_under_load_lose_no_step(trial: Trial, place: str, folder: Path, request: pytest.FixtureRequest) -> None:
    store, workers, stops = PLACES[place]
    url = request.getfixturevalue("redis").url if store == "redis" else f"lmdb:{folder / place}"
    slowest = 0.0
    with servers([url], folder, workers) as (server,), Load(server.port) as load, Wire(server.port) as wire:
        twin = Twin(wire, hold_params=True, rows=250)
        for _ in range(trial.times(quick=1, whole=stops)):
            load.wait_for_a_moment(trial.random)
            slowest = max(slowest, stop_and_start(server, wire, twin))
            trial.tried["stops"] += 1
        twin.check(wire)
    if WHOLE:
        assert slowest < SHUTDOWN_SECONDS
    assert not load.seen["answers 503 store_unavailable"]
    assert not load.seen["of them saved before"], "a step that was taken must be answered before the end"
    trial.tried["acknowledged steps"] += load.answered
    trial.tried.update(load.seen)
    trial.measured["slowest stop"] = f"{slowest:.2f} s"


def stop_and_start(server: ServerProcess, wire: Wire, twin: Twin) -> float:
    """Stop with idle connections, which are closed, and a half-sent step, which is answered; return the seconds."""
    request = twin.request()
    with (
        half_sent(server.port, request) as (slow, rest),
        Wire(server.port) as idle,
        socket.create_connection(("127.0.0.1", server.port)) as silent,
    ):
        idle.ask("GET", "/livez")
        started = time.monotonic()
        server.terminate()
        assert_closed(idle.connection.sock)
        assert_closed(silent)
        time.sleep(SLOW_SECONDS)
        slow.sendall(rest)
        answer = read_answer(slow)
        assert server.wait() == 0, server.log()
        seconds = time.monotonic() - started
    twin.take(answer)
    wire.close()
    server.start()
    assert_replay(wire.send(request), answer)
    return seconds


def assert_closed(connection: socket.socket) -> None:
    connection.settimeout(SHUTDOWN_SECONDS)
    with suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def read_answer(client: socket.socket) -> Response:
    response = http.client.HTTPResponse(client)
    response.begin()
    return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
