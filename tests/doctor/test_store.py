"""The store: one that is well, none yet, one that is away, and those of other formats."""

import time
from pathlib import Path

import pytest
from redis import Redis

from app.doctor import store
from app.doctor.finding import Finding
from app.settings import Settings
from app.store import open_store
from app.store.redis import RedisStore
from app.store.redis_names import FORMAT_KEY
from tests.servers import RedisServer
from tests.stores import DURABLE


async def found(url: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in await store.examined(Settings(store=url), "the store")}


@pytest.mark.parametrize("store_url", DURABLE, indirect=True)
async def test_a_store_is_written_to_and_timed(store_url: str) -> None:
    async with open_store(Settings(store=store_url)):
        pass
    findings = await found(store_url)
    assert findings["store"].found == "the store: format 2"
    assert "ms for a write" in findings["store write"].found
    assert "durability" in findings


async def test_no_store_is_made(tmp_path: Path) -> None:
    findings = await found(f"lmdb:{tmp_path / 'store'}")
    assert findings["store"].found == "the store: none yet, `optim serve` makes it"
    assert not (tmp_path / "store").exists()


async def test_memory_is_warned_about() -> None:
    assert (await found("memory:"))["store"].level == "warning"


async def test_a_redis_that_is_away_is_told_apart(own_redis: RedisServer) -> None:
    own_redis.kill()
    finding = (await found(own_redis.url))["store"]
    assert finding.is_away
    assert (finding.way_out or "").startswith("Start it")


@pytest.mark.parametrize(("number", "level"), [("1", "warning"), ("999", "problem")])
async def test_another_format_is_left_as_it_is(redis_url: str, number: str, level: str) -> None:
    with Redis.from_url(redis_url, protocol=2) as client:
        client.set(FORMAT_KEY, number)
        finding = (await found(redis_url))["store"]
        assert (finding.level, finding.is_away) == (level, False)
        assert client.get(FORMAT_KEY) == number.encode()


async def test_a_slow_store_and_a_wrong_clock_are_found(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def now(_: RedisStore) -> float:
        return time.time() + 60

    monkeypatch.setattr(store, "SLOW_MS", 0)
    monkeypatch.setattr(RedisStore, "now", now)
    findings = await found(redis_url)
    assert findings["store write"].level == findings["store clock"].level == "warning"


async def test_a_user_who_may_not_ask_is_told(own_redis: RedisServer) -> None:
    with own_redis.client() as admin:
        admin.execute_command("ACL SETUSER shy on >secret ~* +@all -info")
    findings = await found(own_redis.url.replace("redis://", "redis://shy:secret@"))
    assert findings["store"].level == "ok"
    assert findings["durability"].way_out == "Let this user +info"
