"""`kill -9` of the server: acknowledged steps survive, once, to the bit."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from optim_client._protocol import Request

from tests.chaos.trial import Trial
from tests.durability.load import Load
from tests.durability.processes import ServerProcess
from tests.durability.twin import Twin
from tests.durability.wire import Wire, bytes_of, half_sent, was_replayed


@pytest.mark.requirement("R1", "R2")
def test_kills_of_the_server_lose_no_step(trial: Trial, server: ServerProcess) -> None:
    """Kill with eight requests in flight, and a ninth half sent or half answered."""
    with Load(server.port) as load, Wire(server.port) as wire:
        twin = Twin(wire, hold_params=True, rows=250)
        for number in range(trial.times(quick=2, whole=50)):
            request, is_saved = twin.request(), number % 2 == 1
            half_way = half_answered if is_saved else half_sent
            with half_way(server.port, request):
                load.wait_for_a_moment(trial.random)
                server.kill()
            trial.tried["kills"] += 1
            trial.tried["of them with " + half_way.__name__.replace("half_", "a step half ")] += 1
            wire.close()
            server.start()
            answer = wire.send(request)
            assert was_replayed(answer) is is_saved
            twin.take(answer)
        twin.check(wire)
    assert not load.seen["answers 503 store_unavailable"]
    trial.tried["acknowledged steps"] += load.answered
    trial.tried.update(load.seen)


@contextmanager
def half_answered(port: int, request: Request) -> Iterator[None]:
    """Read the start of the answer, when the step is saved."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"".join(bytes_of(request)))
        assert client.recv(1 << 10).startswith(b"HTTP/1.1 200 ")
        yield
