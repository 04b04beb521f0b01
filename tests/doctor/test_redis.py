"""The Redis of the store: what it loses, what it drops, and a memory that is nearly full."""

import pytest

from app.doctor import redis
from app.doctor.finding import Finding
from app.store.redis_server import RedisServer

INFO = {"redis_version": "7.0.15", "aof_enabled": "1", "used_memory": "10000000", "maxmemory": "0"}
ALWAYS = {"appendfsync": "always", "save": ""}


def found(info: dict[str, str], settings: dict[str, str] = ALWAYS) -> dict[str, Finding]:
    return {finding.check: finding for finding in redis.examined(RedisServer({**INFO, **info}, settings))}


def test_a_redis_that_loses_nothing_is_well() -> None:
    findings = found({})
    assert {finding.level for finding in findings.values()} == {"ok"}
    assert findings["store server"].found == "Redis 7.0.15"
    assert found({"valkey_version": "9.0.0"})["store server"].found == "Valkey 9.0.0"


@pytest.mark.parametrize(
    ("info", "settings", "level", "way_out"),
    [
        ({}, {"appendfsync": "everysec"}, "warning", "CONFIG SET appendfsync always"),
        ({}, {}, "warning", "Look at appendfsync yourself"),
        ({"aof_enabled": "0"}, {"save": "60 1"}, "problem", "CONFIG SET appendonly yes"),
        ({"aof_enabled": "0"}, {"save": ""}, "problem", "CONFIG SET appendonly yes"),
    ],
)
def test_steps_that_a_crash_loses_are_found(
    info: dict[str, str], settings: dict[str, str], level: str, way_out: str
) -> None:
    finding = found(info, settings)["durability"]
    assert finding.level == level
    assert (finding.way_out or "").startswith(way_out)


def test_a_redis_that_keeps_nothing_says_so() -> None:
    assert "loses everything" in found({"aof_enabled": "0"}, {"save": ""})["durability"].found


def test_a_redis_that_drops_keys_is_found() -> None:
    findings = found({"maxmemory": "20000000", "maxmemory_policy": "allkeys-lru"})
    assert findings["eviction"].level == "problem"
    assert findings["store memory"].level == "ok"


def test_a_memory_that_is_nearly_full_is_found() -> None:
    assert found({"maxmemory": "11000000", "maxmemory_policy": "noeviction"})["store memory"].level == "warning"


def test_a_write_that_failed_is_found() -> None:
    assert found({"aof_last_write_status": "err"})["disk"].level == "problem"
