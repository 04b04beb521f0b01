"""`optim serve --workers 2`: a training that two processes behind one port serve."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.processes import ServerProcess, servers
from tests.durability.twin import Twin
from tests.durability.wire import Wire, assert_replay


@pytest.fixture(scope="module")
def server(store: str, folder: Path) -> Iterator[ServerProcess]:
    with servers([store], folder, workers=2, options=["--drain-seconds=600"]) as (server,):
        yield server


def wires_to_both(server: ServerProcess) -> list[Wire]:
    """Return a kept connection to each worker."""
    by_worker: dict[int, Wire] = {}
    deadline = time.monotonic() + 60
    while len(by_worker) < 2:
        assert time.monotonic() < deadline, server.log()
        wire = Wire(server.port)
        for kept in (wire, *by_worker.values()):  # an idle connection is closed after some seconds
            kept.ask("GET", "/readyz")
        if by_worker.setdefault(worker_of(server, wire), wire) is not wire:
            wire.close()
    return list(by_worker.values())


def worker_of(server: ServerProcess, wire: Wire) -> int:
    return server.connections()[wire.connection.sock.getsockname()]


@pytest.mark.parametrize("rows", [8, 100], ids=["small", "bulk"])
@pytest.mark.parametrize("hold_params", [False, True], ids=["sent", "held"])
@pytest.mark.long
def test_two_workers_behave_as_one(server: ServerProcess, hold_params: bool, rows: int) -> None:
    wires = wires_to_both(server)
    twin = Twin(wires[0], hold_params=hold_params, rows=rows)
    for number in range(1, 41):
        request = twin.request()
        answer = wires[number % 2].send(request)
        assert_replay(wires[1 - number % 2].send(request), answer)
        twin.take(answer)
    for wire in wires:
        twin.check(wire)
        wire.close()


@pytest.mark.long
def test_a_dead_worker_is_replaced_and_nothing_is_lost(server: ServerProcess) -> None:
    dying, living = wires_to_both(server)
    twins = [Twin(dying, hold_params=hold_params) for hold_params in (False, True)]
    for twin in twins:
        for number in range(10):
            twin.take((dying, living)[number % 2].send(twin.request()))
    os.kill(worker_of(server, dying), signal.SIGKILL)
    for twin in twins:
        twin.take(living.send(twin.request()))
    dying.close()
    living.close()
    for wire in wires_to_both(server):
        for twin in twins:
            twin.take(wire.send(twin.request()))
            twin.check(wire)
        wire.close()


@pytest.mark.long
def test_the_workers_end_with_a_killed_supervisor(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        twin = Twin(wire, hold_params=True)
        twin.take(wire.send(twin.request()))
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    server.wait_until_port_is_free()
    server.start()
    with Wire(server.port) as wire:
        twin.take(wire.send(twin.request()))
        twin.check(wire)
