"""Lost, late and cut requests and answers: every step is done exactly once."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import get_args

import httpx2
import pytest
import redis.asyncio
from optim_client import Client, _protocol
from optim_client._protocol import Call, Request, Response

from app.errors import StoreUnavailable
from app.main import create_app
from app.settings import Settings
from app.store import open_store
from app.store.redis_client import Client as RedisClient
from app.store.redis_names import piece_keys, session_key
from app.store.redis_pieces import STAGED_MS
from app.store.redis_scripts import SAVE
from tests.chaos.fault_proxy import Fault, FaultProxy, Kind, Side
from tests.chaos.trial import Trial
from tests.durability.twin import Twin
from tests.durability.wire import Wire
from tests.servers import RedisServer
from tests.web.sockets import NotStarted, listening

ROWS = {"small": 8, "bulk": 60, "staged": 3_600}
"""Rows of a twin: a step of 20 KB; one of 150 KB, by the lanes for large bodies; and one with a state of 13 MB,
which is saved while it is computed."""
CLIENT_SECONDS = 0.25
STORE_SECONDS = 0.25
LATE = 1.3
"""A delay, in timeouts."""
STEPS_OF_ONE = 75
KEEP_ALIVE = 300
TRIES = 30
TOKEN = re.compile(SAVE.sha.encode() + rb".*?\r\n\$12\r\n([0-9a-f]{12})\r\n", re.DOTALL)
"""The unique token of a save in the bytes to Redis."""
FAULTS = list(product(get_args(Kind), get_args(Side)))

Send = Callable[[Request], Response]


@contextmanager
def sending(way: str, port: int) -> Iterator[Send]:
    """Open one of the client's two ways to the service, with its retries."""
    transport = None if way == "lane" else httpx2.HTTPTransport()
    with Client(f"http://127.0.0.1:{port}", timeout=CLIENT_SECONDS, max_retries=TRIES, transport=transport) as client:
        yield lambda request: client._run(Call(request, lambda response: response))


async def train_through_faults(
    trial: Trial, proxy: FaultProxy, send: Send, port: int, size: str, count: int, seconds: float
) -> None:
    """Train twins with a fault in each step, sweeping over all bytes of a step. The checks bypass the proxy."""
    struck, first = 0, trial.random.randrange(len(FAULTS))
    with Wire(port) as direct:
        while struck < count:
            twin = await asyncio.to_thread(Twin, direct, hold_params=trial.random.random() < 0.5, rows=ROWS[size])
            for _ in range(2):  # the second replaces a state
                proxy.strike(None)
                twin.take(await asyncio.to_thread(send, twin.request()))
            usual = proxy.passed.copy()
            while struck < count and twin.state.t < STEPS_OF_ONE:
                kind, side = FAULTS[(first + struck) % len(FAULTS)]
                after = int(usual[side] * (struck + trial.random.random()) / count)
                proxy.strike(Fault(kind, side, after, seconds=LATE * seconds))
                twin.take(await asyncio.to_thread(send, twin.request()))
                if proxy.has_struck:
                    struck += 1
                    trial.tried[f"{kind}s in {side}s"] += 1
                else:  # a late answer had doubled the usual bytes
                    usual = proxy.passed.copy()
            proxy.strike(None)
            await asyncio.to_thread(twin.check, direct)


@pytest.mark.requirement("R4")
async def test_client_network_faults_neither_lose_nor_repeat_steps(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_protocol, "FIRST_WAIT_SECONDS", 0.01)
    counts = {"small": (10, 250), "bulk": (8, 150), "staged": (2, 100)}
    async with AsyncExitStack() as stack:
        app = create_app(Settings(store=f"lmdb:{tmp_path / 'store'}"))
        _, port = stack.enter_context(listening(app, keep_alive=KEEP_ALIVE))
        runs = []
        for way, (size, (quick, whole)) in product(("lane", "httpx"), counts.items()):
            proxy = await stack.enter_async_context(FaultProxy(port))
            send = stack.enter_context(sending(way, proxy.port))
            count = trial.times(quick=quick // 2, whole=whole)
            runs.append(train_through_faults(trial, proxy, send, port, size, count, CLIENT_SECONDS))
        await asyncio.gather(*runs)


def started(stack: ExitStack, settings: Settings) -> int:
    """Start a server and return its port. On a busy machine, Redis may be too slow for a start, as for a step."""
    for _ in range(TRIES):
        with suppress(NotStarted):
            return stack.enter_context(listening(create_app(settings), keep_alive=KEEP_ALIVE))[1]
    raise AssertionError("the server never started")


class Patient:
    """A client that retries by its key at once, and accepts no refusal but 503."""

    def __init__(self, port: int, proxy: FaultProxy) -> None:
        self._wire = Wire(port)
        self._proxy = proxy

    def send(self, request: Request) -> Response:
        for _ in range(TRIES):
            answer = self._wire.send(request)
            if answer.status == 200:
                sent = TOKEN.findall(self._proxy.requests)
                assert len(sent) == len(set(sent)), "a save was sent twice"
                return answer
            assert (answer.status, answer.headers.get("retry-after")) == (503, "1"), answer.body
        raise AssertionError("the store never came back")

    def close(self) -> None:
        self._wire.close()


@pytest.mark.requirement("R4")
@pytest.mark.long
async def test_redis_network_faults_neither_lose_nor_repeat_steps(trial: Trial, own_redis: RedisServer) -> None:
    counts = {"small": (16, 450), "bulk": (8, 350), "staged": (4, 200)}
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(ExitStack())
        _, direct = stack.enter_context(listening(create_app(Settings(store=own_redis.url)), keep_alive=KEEP_ALIVE))
        runs = []
        for size, (quick, whole) in counts.items():
            proxy = await stack.enter_async_context(FaultProxy(own_redis.port))
            settings = Settings(store=proxy.redis_url, store_timeout_seconds=STORE_SECONDS)
            port = await asyncio.to_thread(started, servers, settings)
            client = Patient(port, proxy)
            stack.callback(client.close)
            count = trial.times(quick=quick, whole=whole)
            runs.append(train_through_faults(trial, proxy, client.send, direct, size, count, STORE_SECONDS))
        await asyncio.gather(*runs)
    trial.tried["leftovers that expire"] = await leftovers(own_redis)


async def leftovers(server: RedisServer) -> int:
    """Count the pieces of no session. Each of them must expire in time; no piece of a session may expire."""
    used: set[bytes] = set()
    with server.client() as client:
        async with open_store(Settings(store=server.url)) as store:
            for key in client.scan_iter(session_key("*", "head")):
                session_id = key.decode().partition("{")[2].partition("}")[0]
                head = await store.load(session_id)
                assert head
                used |= {name.encode() for name in piece_keys(session_id, head.pieces)}
        left = 0
        for key in client.scan_iter("optim:*:piece:*"):
            expires = client.pttl(key)
            if key in used:
                assert expires == -1
            else:
                assert 0 < expires <= STAGED_MS
                left += 1
        assert all(map(client.exists, used))
    return left


async def connected(client: RedisClient) -> None:
    """Let the client connect anew. On a busy machine, Redis may be too slow for a try."""
    for _ in range(TRIES):
        with suppress(StoreUnavailable):
            await client.ask(("PING",))
            return
    raise AssertionError("Redis never answered")


@pytest.mark.requirement("R4")
async def test_a_late_redis_answer_causes_no_second_command(trial: Trial, own_redis: RedisServer) -> None:
    """redis-py's own client repeats a late INCR, which counts twice; ours raises an error instead."""
    async with FaultProxy(own_redis.port) as proxy:
        plain = redis.asyncio.Redis(host="127.0.0.1", port=proxy.port, socket_timeout=STORE_SECONDS)
        ours = RedisClient(proxy.redis_url, STORE_SECONDS)
        ours.open()
        await plain.ping()
        for number in range(trial.times(quick=3, whole=100)):
            proxy.strike(Fault("delay", "answer", 0, seconds=LATE * STORE_SECONDS))
            await plain.incr(f"theirs {number}")
            await connected(ours)
            proxy.strike(Fault("delay", "answer", 0, seconds=LATE * STORE_SECONDS))
            with pytest.raises(StoreUnavailable, match="did not answer within"):
                await ours.ask(("INCR", f"ours {number}"))
            trial.tried["late answers to an increment"] += 1
            with own_redis.client() as direct:
                trial.tried["increments by redis-py's client"] += int(direct.get(f"theirs {number}"))
                assert direct.get(f"ours {number}") == b"1"
        await plain.aclose()
        await ours.close()
