"""A training whose server is killed: the ways to do it around a step, and the run that goes through them.

Steps, ways and moments are drawn from a seed that is printed; DURABILITY_SEED repeats them.
"""

import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TypeAlias

from optim_client._protocol import Request, Response

from tests.durability.processes import ServerProcess
from tests.durability.twin import Twin
from tests.durability.wire import LOST, Wire, assert_replay, bytes_of, half_sent, was_replayed

Kill: TypeAlias = Callable[[ServerProcess, Wire, Request, float], tuple[Response, str]]
"""A server, a request to it, and a moment in seconds; gives the answer, and says what happened."""


def between(server: ServerProcess, wire: Wire, request: Request, _: float) -> tuple[Response, str]:
    """Nothing of the request was sent."""
    server.kill()
    return _send_again(server, wire, request), "between two steps"


def while_sent(server: ServerProcess, wire: Wire, request: Request, _: float) -> tuple[Response, str]:
    """The server has read the half of the body."""
    with half_sent(server.port, request):
        server.kill()
    answer = _send_again(server, wire, request)
    assert not was_replayed(answer)
    return answer, "half sent"


def while_answered(server: ServerProcess, wire: Wire, request: Request, _: float) -> tuple[Response, str]:
    """The client has read the begin of the answer, so the step was saved."""
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"".join(bytes_of(request)))
        begin = half.recv(1 << 10)
        server.kill()
    assert begin.startswith(b"HTTP/1.1 200 ")
    answer = _send_again(server, wire, request)
    assert was_replayed(answer)
    assert answer.body.startswith(begin.partition(b"\r\n\r\n")[2])
    return answer, "half answered"


def at_any_moment(server: ServerProcess, wire: Wire, request: Request, seconds: float) -> tuple[Response, str]:
    """Somewhere between the first byte of the request and the last of the answer, or just after it."""
    killer = threading.Timer(seconds, server.kill)
    killer.start()
    try:
        first = wire.send(request)
    except LOST:
        first = None
    killer.join()
    answer = _send_again(server, wire, request)
    if first:
        assert_replay(answer, first)
        return first, "answered"
    return answer, "saved and not answered" if was_replayed(answer) else "not saved"


WAYS: Sequence[Kill] = (between, while_sent, while_answered, at_any_moment)


def _send_again(server: ServerProcess, wire: Wire, request: Request) -> Response:
    wire.close()
    server.start()
    return wire.send(request)


def draw() -> random.Random:
    seed = int(os.environ.get("DURABILITY_SEED") or random.randrange(1 << 32))
    print(f"DURABILITY_SEED={seed}")
    return random.Random(seed)


def moment(chance: random.Random, usual: float) -> float:
    """Somewhere in a step of the usual length, or just after it."""
    return chance.uniform(0, 1.3 * usual)


def save_many_pieces_through_kills(server: ServerProcess, rows: int, kills: int) -> None:
    """A session whose state is many pieces, which leave while the step is computed: saved wholly or not at all."""
    chance, happened = draw(), Counter[str]()
    with Wire(server.port) as wire:
        twin = Twin(wire, hold_params=True, rows=rows)
        for _ in range(kills):
            request, started = twin.request(), time.perf_counter()
            twin.take(wire.send(request))
            usual = time.perf_counter() - started
            request = twin.request()
            answer, what = at_any_moment(server, wire, request, moment(chance, usual))
            happened[what] += 1
            assert_replay(wire.send(request), answer)
            twin.take(answer)
        twin.check(wire)
    print(f"killed: {dict(happened)}")


def train_through_kills(server: ServerProcess, steps: int, kills: int) -> None:
    """Two sessions, one of which holds its parameters. Each request is sent twice, killed or not."""
    chance, happened = draw(), Counter[str]()
    ways = dict(zip(chance.sample(range(1, steps + 1), kills), cycle(WAYS), strict=False))
    with Wire(server.port) as wire:
        twins = [Twin(wire, hold_params=False), Twin(wire, hold_params=True, rows=250)]  # a state of one piece, of two
        usual = dict.fromkeys(twins, 0.0)
        for number in range(1, steps + 1):
            victim = chance.choice(twins)
            for twin in twins:
                request, started = twin.request(), time.perf_counter()
                if twin is victim and number in ways:
                    answer, what = ways[number](server, wire, request, moment(chance, usual[twin]))
                    happened[what] += 1
                else:
                    answer = wire.send(request)
                    usual[twin] = time.perf_counter() - started
                assert_replay(wire.send(request), answer)
                twin.take(answer)
        for twin in twins:
            twin.check(wire)
    print(f"killed: {dict(happened)}")
