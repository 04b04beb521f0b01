"""Readiness: the store can be written, and the answer comes before the caller gives up, whatever the store does."""

import asyncio
import http.client
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.errors import StoreUnavailable
from app.main import create_app
from app.settings import Settings
from app.store import open_store
from app.store.base import Store
from app.store.lmdb import LmdbStore
from app.store.lmdb_file import TRANSACTION_BYTES
from app.store.memory import MemoryStore
from tests.chaos.fault_proxy import FaultProxy
from tests.reaper import tied
from tests.servers import RedisServer
from tests.store.changes import saved
from tests.web.sockets import listening

SECONDS = 10.0
"""The patience of a caller: enough for a busy machine, and less than a store that hangs would take."""


class Probes:
    """A caller that asks `/readyz` of a service on a socket of its own."""

    def __init__(self, port: int) -> None:
        self._port = port

    def answer(self, path: str = "/readyz") -> tuple[int, str | None, dict[str, Any]]:
        """Status, `Retry-After` and the document."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, answer.getheader("retry-after"), json.loads(answer.read())
        connection.close()
        return found

    def refusal(self) -> str:
        """The words of a 503."""
        status, retry_after, problem = self.answer()
        assert (status, retry_after, problem["code"]) == (503, "1", "store_unavailable"), problem
        return str(problem["detail"])

    def is_ready(self) -> bool:
        return self.answer()[0] == 200


@contextmanager
def probing(store: str | Store, **settings: object) -> Iterator[Probes]:
    named = {"store": store} if isinstance(store, str) else {"store": "memory:"}
    app = create_app(Settings.model_validate(named | settings), None if isinstance(store, str) else store)
    with listening(app) as (_, port):
        yield Probes(port)


@contextmanager
def stopped(server: RedisServer) -> Iterator[None]:
    process = psutil.Process(server.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def test_memory_is_ready() -> None:
    with probing("memory:") as probes:
        assert probes.is_ready()


@pytest.mark.long
def test_a_stopped_redis_is_answered_for_as_not_ready(own_redis: RedisServer) -> None:
    with probing(own_redis.url) as probes:
        assert probes.is_ready()
        with stopped(own_redis), ThreadPoolExecutor(8) as pool:
            for _ in range(2):
                assert set(pool.map(lambda _: probes.refusal(), range(8))) == {"Redis did not answer within 1.25 s"}
                assert probes.answer("/livez")[0] == 200
        assert probes.is_ready()


@pytest.mark.long
async def test_a_way_to_redis_that_swallows_all_is_not_ready(own_redis: RedisServer) -> None:
    async with FaultProxy(own_redis.port) as proxy:
        with ExitStack() as stack:
            probes = await asyncio.to_thread(stack.enter_context, probing(proxy.redis_url))
            assert await asyncio.to_thread(probes.is_ready)
            proxy.mute = True
            for _ in range(2):
                assert await asyncio.to_thread(probes.refusal) == "Redis did not answer within 1.25 s"
            proxy.mute = False
            assert await asyncio.to_thread(probes.is_ready)


def test_a_redis_that_takes_no_writes_is_not_ready(own_redis: RedisServer) -> None:
    with probing(own_redis.url) as probes, own_redis.client() as admin:
        assert probes.is_ready()
        admin.replicaof("127.0.0.1", 1)
        assert "is a read-only replica" in probes.refusal()
        admin.replicaof("NO", "ONE")
        assert probes.is_ready()
        admin.config_set("maxmemory", 1)
        assert "is out of memory" in probes.refusal()
        admin.config_set("maxmemory", 0)
        assert probes.is_ready()
        own_redis.kill()
        assert "cannot be reached" in probes.refusal()
        own_redis.start()
        assert probes.is_ready()


def test_probes_leave_one_key_that_expires(own_redis: RedisServer) -> None:
    with probing(own_redis.url) as probes, own_redis.client() as admin:
        for _ in range(5):
            assert probes.is_ready()
        assert set(admin.keys()) == {b"optim:format", b"optim:ready"}
        assert 0 < admin.pttl("optim:ready") <= 60_000


class Slow(MemoryStore):
    """A store that counts how often it is asked, and takes its time."""

    asked = 0
    seconds = 0.3

    async def ping(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.seconds)


def test_probes_at_once_ask_the_store_once() -> None:
    store = Slow(10)
    with probing(store) as probes, ThreadPoolExecutor(20) as pool:
        assert all(pool.map(lambda _: probes.is_ready(), range(20)))
        assert store.asked <= 2


@pytest.mark.long
def test_a_store_that_never_answers_is_asked_once() -> None:
    store = Slow(10)
    store.seconds = 30
    with probing(store) as probes:
        for _ in range(2):
            assert probes.refusal() == "the store did not answer within 1.5 s"
        assert store.asked == 1


# LMDB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def locked(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that holds the lock of those who write, as one does whose disk hangs."""
    script = f"""
import lmdb, sys
environment = lmdb.open({str(folder)!r}, map_size=1 << 40)
sys.stdin.readline()
with environment.begin(write=True):
    print("locked", flush=True)
    sys.stdin.readline()
"""
    with tied([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.long
def test_an_embedded_store_that_does_not_write_is_not_ready(folder: Path, locked: "subprocess.Popen[bytes]") -> None:
    with probing(f"lmdb:{folder}") as probes:
        assert probes.is_ready()
        assert locked.stdin
        assert locked.stdout
        locked.stdin.write(b"\n")
        locked.stdin.flush()
        locked.stdout.readline()
        for _ in range(2):
            assert "wrote nothing within 1.25 s" in probes.refusal()
        locked.kill()
        assert probes.is_ready()


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
def test_an_embedded_store_whose_file_was_removed_is_not_ready(folder: Path, name: str) -> None:
    with probing(f"lmdb:{folder}") as probes:
        assert probes.is_ready()
        (folder / name).unlink()
        assert f"{name} was removed while the store was open" in probes.refusal()


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[LmdbStore]:
    store = open_store(Settings(store=f"lmdb:{folder}"))
    assert isinstance(store, LmdbStore)
    async with store:
        yield store


async def test_probes_of_an_embedded_store_leave_it_as_large(store: LmdbStore, folder: Path) -> None:
    for _ in range(10):
        await store.ping()
    size = (folder / "data.mdb").stat().st_size
    for _ in range(100):
        await store.ping()
    assert (folder / "data.mdb").stat().st_size == size


@pytest.mark.long
async def test_a_probe_queued_behind_many_saves_succeeds(store: LmdbStore) -> None:
    def slow(transaction: Any) -> None:
        time.sleep(0.4)
        transaction.put(b"saved", b"%d" % time.monotonic_ns())

    saves = [store.file.submit(slow, TRANSACTION_BYTES) for _ in range(6)]
    await store.ping()
    assert not saves[-1].done()


async def fill(store: Store) -> None:
    for i in range(10_000):
        await saved(store, None, [bytes(1000)], session_id=f"{i}")


async def test_a_full_embedded_store_is_not_ready(folder: Path) -> None:
    full = "is full: delete sessions or raise OPTIM_LMDB_MAP_BYTES"
    async with open_store(Settings(store=f"lmdb:{folder}", lmdb_map_bytes=1 << 20)) as store:
        await store.ping()
        with pytest.raises(StoreUnavailable, match=full):
            await fill(store)
        with pytest.raises(StoreUnavailable, match=full):
            await store.ping()
    async with open_store(Settings(store=f"lmdb:{folder}", lmdb_map_bytes=2 << 20)) as store:
        await store.ping()
