"""Disconnects of clients and cancelled calls to Redis: no foreign data is read, and nothing leaks."""

import asyncio
import gc
import random
import socket
import struct
import time
import tracemalloc

import psutil
import pytest
from optim_client._protocol import Request
from starlette.types import Receive, Scope, Send

from app.main import create_app
from app.settings import Settings
from app.store.redis_client import Client, Command
from app.store.redis_pool import CONNECTIONS
from app.web.protocol import Http
from tests.chaos.trial import Trial
from tests.durability.twin import Twin
from tests.durability.wire import Wire, bytes_of
from tests.servers import RedisServer
from tests.web.sockets import TIMEOUT_SECONDS, listening, wait_until

PLACES = 3
LONGEST_BATCH_SECONDS = 0.008
"""About the time of so many calls. The others wait for a connection and reuse one at once."""
LINGER = {"closed": None, "reset": struct.pack("ii", 1, 0)}


class Watched:
    """The service, with a view of everything that could leak."""

    def __init__(self, store: str, redis: RedisServer) -> None:
        self._app = create_app(Settings(store=store, max_waiting_steps=PLACES, compute_threads=2))
        self._redis = redis
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        await self._app(scope, receive, send)

    def held(self) -> dict[str, int]:
        """Count what the service holds now. Idle connections to Redis may stay in the pool."""
        assert self._loop
        with self._redis.client() as client:
            connections = sum(found["name"] == "optim-service" for found in client.client_list())
        gc.collect()
        return {
            "connections": sum(isinstance(found, Http) for found in gc.get_objects()),
            "tasks": len(asyncio.all_tasks(self._loop)),
            "descriptors": psutil.Process().num_fds() - connections,
            "connections to Redis beyond the pool": max(0, connections - CONNECTIONS),
            "free places": self._app.state.service.admission._free,
            "bytes of bodies": self._app.state.service.bodies.nbytes,
        }


def leave(port: int, request: Request, phase: str, manner: str, chance: random.Random) -> None:
    """Send the request or a part of it, and disconnect."""
    head, body = bytes_of(request)
    part = {
        "before the head": b"",
        "in the head": head[: chance.randrange(1, len(head))],
        "after the head": head,
        "in the body": head + body[: chance.randrange(1, len(body))],
    }
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as link:
        link.sendall(part.get(phase, head + body))
        if phase == "while it is computed":
            time.sleep(chance.uniform(0, 0.01))
        if phase == "while it is answered":
            assert link.recv(chance.randrange(1, 100))
        if (linger := LINGER[manner]) is not None:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


PHASES = (
    "before the head",
    "in the head",
    "after the head",
    "in the body",
    "while it is computed",
    "while it is answered",
)


@pytest.mark.requirement("R9")
@pytest.mark.long
def test_a_disconnect_at_any_moment_leaks_nothing(trial: Trial, own_redis: RedisServer) -> None:
    service = Watched(own_redis.url, own_redis)
    sent = 0
    with listening(service, keep_alive=60) as (_, port), Wire(port) as wire:
        twins = [
            Twin(wire, hold_params=False),
            Twin(wire, hold_params=False, rows=60),
        ]  # the second's by the bulk lane
        for twin in twins:
            twin.take(wire.send(twin.request()))
        before = service.held()
        tracemalloc.start()
        for number in range(trial.times(quick=24, whole=504)):
            phase, manner = PHASES[number % len(PHASES)], trial.random.choice(list(LINGER))
            twin = twins[number // len(PHASES) % 2]
            request = twin.request()
            leave(port, request, phase, manner, trial.random)
            trial.tried[f"{manner} {phase}"] += 1
            sent += len(request.body)  # type: ignore[arg-type]
            twin.take(wire.send(request))
            if number == len(PHASES) * 2 - 1:
                gc.collect()
                warm = tracemalloc.get_traced_memory()[0]
        wait_until(lambda: service.held() == before, service.held)
        grown = tracemalloc.get_traced_memory()[0] - warm
        tracemalloc.stop()
        assert grown < max(sent / 20, 1 << 20), f"{grown} bytes"
        trial.measured["memory"] = f"{grown / 1024:+.0f} KiB after requests of {sent / (1 << 20):.0f} MiB"
        for twin in twins:
            twin.check(wire)


@pytest.mark.requirement("R9")
async def test_a_cancelled_redis_call_never_leaks_its_reply(trial: Trial, own_redis: RedisServer) -> None:
    client = Client(own_redis.url, 30)
    client.open()
    values = {f"key {i}": b"%d " % i * length for i in range(64) for length in [trial.random.choice([1, 500, 60_000])]}
    await client.ask(*(("SET", key, value) for key, value in values.items()))
    await asyncio.gather(*(client.ask(("PING",)) for _ in range(CONNECTIONS)))
    process = psutil.Process()
    before = process.num_fds()
    wanted = trial.times(quick=300, whole=10_000)
    while trial.tried["calls cut short"] < wanted:
        tasks = [asyncio.create_task(ask(client, values, trial.random)) for _ in range(3 * CONNECTIONS)]
        await asyncio.sleep(trial.random.uniform(0, LONGEST_BATCH_SECONDS))
        for task in trial.random.sample(tasks, CONNECTIONS):
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, asyncio.CancelledError):
                trial.tried["calls cut short"] += 1
            else:
                assert outcome is None
                trial.tried["answers that were as they should be"] += 1
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.gather(*(ask(client, values, trial.random) for _ in range(10 * CONNECTIONS)))
    assert process.num_fds() <= before
    await client.close()
    with own_redis.client() as look:
        wait_until(lambda: all(found["name"] != "optim-service" for found in look.client_list()), look.client_list)


async def ask(client: Client, values: dict[str, bytes], chance: random.Random) -> None:
    """Get some values at once, by a plain call or at the end of an upload."""
    keys = chance.sample(list(values), chance.randint(1, 4))
    asked: list[Command] = [("GET", key) for key in keys]
    if chance.random() < 0.3:
        asked.insert(0, ("BLPOP", "nothing", "0.005"))  # a late and empty answer
    if chance.random() < 0.5:
        answers = await client.ask(*asked)
    else:
        upload = client.upload()
        upload.put(("SET", "uploaded", memoryview(bytes(100_000))))
        answers = await upload.finish(*asked)
    assert answers[-len(keys) :] == [values[key] for key in keys]
