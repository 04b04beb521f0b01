"""A Redis that a restore fills: no service opens it before it is done, and an interrupted restore goes on."""

import asyncio
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.errors import StoreUnavailable
from app.store.base import IncompatibleStore
from app.store.redis_client import Command
from app.store.redis_names import FORMAT_KEY
from app.store.redis_patience import PatientClient
from tests.backup.filled import MIB, backed_up, content, made, opened, restored
from tests.reaper import tied
from tests.servers import RedisServer
from tests.store.changes import saved

COMMAND = [sys.executable, "-m", "app.cli", "restore"]


async def backup_of(tmp_path: Path, large: int = 0) -> Path:
    """Return a backup of a filled store, with so many large sessions."""
    url, folder = f"lmdb:{tmp_path / 'store'}", tmp_path / "backup"
    await made(url)
    async with opened(url) as store:
        for n in range(large):
            await saved(store, None, [b"%d" % i * MIB for i in range(8)], session_id=f"large {n}")
    await backed_up(url, folder)
    return folder


def kill_in_the_middle(folder: Path, redis: RedisServer) -> None:
    """Kill a restore that has put some sessions, and not all."""
    process = tied([*COMMAND, str(folder), "--store", redis.url], stderr=subprocess.DEVNULL)
    with redis.client() as client:
        while not client.exists("optim:{large}:head"):
            assert process.poll() is None
            time.sleep(0.001)
        process.kill()
        process.wait()


def restarted_in_the_middle(redis: RedisServer) -> None:
    """Kill a Redis that has some sessions, and start it again."""
    with redis.client() as client:
        while not client.exists("optim:{claimed}:head"):
            time.sleep(0.001)
    redis.kill()
    redis.start()


@pytest.mark.long
async def test_a_killed_restore_goes_on(own_redis: RedisServer, tmp_path: Path) -> None:
    folder = await backup_of(tmp_path, large=6)
    await asyncio.to_thread(kill_in_the_middle, folder, own_redis)
    with own_redis.client() as client:
        heads = client.keys("optim:{*}:head")
        assert 0 < len(heads) < 13
        named = {key.rpartition(b":head")[0] for key in heads}
        loose = [key for key in client.keys("optim:{*") if not key.startswith(tuple(named)) and client.ttl(key) < 0]
        assert [key for key in loose if not key.endswith(b":created")] == []
    with pytest.raises(IncompatibleStore, match="a restore into this Redis is not done: run `optim restore`"):
        await opened(own_redis.url).open()
    other = tmp_path / "other"
    await backed_up(f"lmdb:{tmp_path / 'store'}", other)
    with pytest.raises(StoreUnavailable, match="a restore of another backup into this Redis was interrupted"):
        await restored(other, own_redis.url)
    assert (await restored(folder, own_redis.url)).sessions == 13
    again = tmp_path / "again"
    await backed_up(own_redis.url, again)
    await restored(again, f"lmdb:{tmp_path / 'back'}")
    assert content(f"lmdb:{tmp_path / 'back'}") == content(f"lmdb:{tmp_path / 'store'}")


@pytest.mark.long
async def test_a_full_redis_is_told_and_filled_later(own_redis: RedisServer, tmp_path: Path) -> None:
    folder = await backup_of(tmp_path, large=3)
    with own_redis.client() as client:
        client.config_set("maxmemory", "16mb")
        with pytest.raises(StoreUnavailable, match="is out of memory: raise its maxmemory or delete sessions"):
            await restored(folder, own_redis.url)
        client.config_set("maxmemory", "0")
    assert (await restored(folder, own_redis.url)).sessions == 10


@pytest.mark.long
async def test_a_redis_that_comes_back_costs_a_restore_nothing(own_redis: RedisServer, tmp_path: Path) -> None:
    folder = await backup_of(tmp_path, large=10)
    restoring = asyncio.create_task(restored(folder, own_redis.url))
    await asyncio.to_thread(restarted_in_the_middle, own_redis)
    assert (await restoring).sessions == 17
    async with opened(own_redis.url) as store:
        assert len(await store.list("tenant-1", 100)) == 16


async def test_a_mortal_session_keeps_its_time(own_redis: RedisServer, tmp_path: Path) -> None:
    await restored(await backup_of(tmp_path), own_redis.url)
    with own_redis.client() as client:
        times = {key: client.ttl(key) for key in client.keys("optim:{mortal}:*")}
        assert len(times) == 5
        assert all(3500 < left <= 3600 for left in times.values())
        lasting = [key for key in client.keys("optim:{plain}:*") if client.ttl(key) != -1]
        assert lasting == []
        (created,) = client.keys("optim:*:created")
        assert math.isclose(client.ttl(created), 86_400, abs_tol=100)


def everything(redis: RedisServer) -> dict[bytes, tuple[Any, bool]]:
    """Return each key's value, and whether the key expires."""
    with redis.client() as client:
        return {key: (client.dump(key), client.ttl(key) >= 0) for key in client.keys("*")}


async def test_a_write_that_arrives_late_changes_nothing(
    own_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Command] = []
    ask = PatientClient.ask

    async def recorded(self: PatientClient, *commands: Command, at_once_within: float | None = None) -> list[Any]:
        sent.extend(commands)
        return await ask(self, *commands, at_once_within=at_once_within)

    folder = await backup_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(PatientClient, "ask", recorded)
        await restored(folder, own_redis.url)
    expected = everything(own_redis)
    client = PatientClient(own_redis.url, 10)
    client.open()
    for command in sent:
        if command[1] != FORMAT_KEY:
            await client.ask(command)
    await client.close()
    assert everything(own_redis) == expected
    assert len(sent) > 30


async def test_other_rows_of_a_session_are_refused(own_redis: RedisServer, tmp_path: Path) -> None:
    folder = await backup_of(tmp_path)
    with own_redis.client() as client:
        client.zadd("optim:{plain}:history", {b"%016d%016drow" % (90, 90): 90})
    with pytest.raises(StoreUnavailable, match="session plain: this Redis has other rows of it: empty the database"):
        await restored(folder, own_redis.url)
