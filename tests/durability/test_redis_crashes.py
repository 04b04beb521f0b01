"""`kill -9` of Redis, alone or with the server: what was answered is in its append-only file."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from optim_client._protocol import Request, Response

from tests.durability.kills import draw, moment
from tests.durability.processes import ServerProcess, servers
from tests.durability.twin import Twin
from tests.durability.wire import Wire, assert_replay, code_of, was_replayed
from tests.servers import RedisServer

STEPS = 60
KILLS = 12


@pytest.fixture(scope="module")
def server(redis: RedisServer, folder: Path) -> Iterator[ServerProcess]:
    with servers([redis.url], folder) as (server,):
        yield server


def send_until_taken(wire: Wire, request: Request) -> Response:
    """As a client does: a store that is away is asked again."""
    while code_of(answer := wire.send(request)) == "store_unavailable":
        time.sleep(0.01)
    return answer


def test_training_goes_on_through_kills_of_redis_to_the_bit(server: ServerProcess, redis: RedisServer) -> None:
    chance, happened, usual = draw(), Counter[tuple[str, str]](), 0.0
    killed = chance.sample(range(1, STEPS + 1), KILLS)
    with Wire(server.port) as wire:
        twins = [Twin(wire, hold_params=False), Twin(wire, hold_params=True, rows=250)]
        for number in range(1, STEPS + 1):
            for twin in twins:
                request = twin.request()
                if twin is twins[number % 2] and number in killed:
                    killer = threading.Timer(moment(chance, usual), redis.kill)
                    killer.start()
                    first = wire.send(request)
                    killer.join()
                    redis.start()
                    answer = send_until_taken(wire, request)
                    happened[code_of(first) or "answered", "saved" if was_replayed(answer) else "not saved"] += 1
                    if first.status == 200:
                        assert_replay(answer, first)
                        answer = first
                else:
                    started = time.perf_counter()
                    answer = wire.send(request)
                    usual = time.perf_counter() - started
                assert_replay(wire.send(request), answer)
                twin.take(answer)
        for twin in twins:
            twin.check(wire)
    print(f"killed: {dict(happened)}")


def test_both_may_be_killed_at_once(server: ServerProcess, redis: RedisServer) -> None:
    with Wire(server.port) as wire:
        twins = [Twin(wire, hold_params=False), Twin(wire, hold_params=True, rows=250)]
        requests = [twin.request() for twin in twins]
        answers = [wire.send(request) for request in requests]
        redis.kill()
        server.kill()
        wire.close()
        redis.start()
        server.start()
        for twin, request, answer in zip(twins, requests, answers, strict=True):
            assert_replay(wire.send(request), answer)
            twin.take(answer)
            twin.take(wire.send(twin.request()))
            twin.check(wire)
