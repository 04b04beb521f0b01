"""The least user of Redis: its rights suffice for the service, each is needed, and it has no other."""

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from redis import Redis
from redis.exceptions import ResponseError

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store
from app.store.generation import ReplacedRow
from app.store.keys import Claim, key_digest
from app.store.redis_names import head_key, tenant_key
from tests import redis_user
from tests.backup.filled import SESSIONS, backed_up, content, made, restored
from tests.chaos.trial import Trial
from tests.servers import RedisServer
from tests.service.calls import SAFETENSORS, W, binary_step, create, serving
from tests.store.ledgers import ledger_saved

LARGE = {"w": np.ones(1_500_000, np.float32)}
"""Larger than the service answers from memory, with more pieces than one pipeline sends."""
ALLOWED = [word.removeprefix("+") for word in redis_user.documented() if word.startswith("+")]
OF_NO_KEY = {"scan", "eval", "evalsha", "time", "info", "client|setname"}
OPTIONAL = {"config|get"}
"""Commands that the service tries at its start, and does without."""
OF_METRICS = {"zcard"}
"""Commands of the metrics alone."""
COUNTED = "\noptim_store_sessions "
WITHOUT_ACL = {"auth", "hello", "quit", "reset"}
"""Commands that everybody may use, even before a login: they only change the user."""

REFUSED = "has no permissions to run the|^(DEBUG|MODULE) command not allowed"
"""DEBUG and MODULE are refused to everybody unless the server's configuration allows them."""
FOREIGN = re.compile("no permissions to access (a key|one of the keys)", re.IGNORECASE)
"""The refusal of a foreign key, in the words of Redis 7.0 and of later versions and Valkey."""
FOREIGN_IN_SCRIPT = "ACL failure in script|The user executing the script can't"


@pytest.fixture
def admin(own_redis: RedisServer) -> Iterator[Redis]:
    with own_redis.client() as admin:
        yield admin


def live(url: str, admin: Redis) -> str:
    """Do everything that the service does with a store, and return its metrics.

    Raises `StoreUnavailable` or `HTTPStatusError` on failure.
    """
    admin.script_flush()
    with serving(store=url, max_sessions=9, max_state_bytes=1 << 30, state_cache_bytes=0) as client:
        client.event_hooks = {"response": [lambda answer: answer.raise_for_status()]}
        client.get("/readyz")
        session = create(client, hold_params=True, ttl_seconds=600)
        client.put(f"{session}/params", json={"params": W["params"]})
        for _ in range(2):
            client.post(f"{session}/steps", json={"grads": W["grads"]}, headers={"idempotency-key": '"a"'})
        client.patch(session, json={"ttl_seconds": None, "labels": {"a": "b"}})
        state = client.get(f"{session}/state").content
        client.post(f"{session}/steps", json={"grads": W["grads"]})  # undone by the upload of the state
        client.put(f"{session}/state", content=state, headers={"content-type": SAFETENSORS})
        client.get(f"{session}/params")
        client.get(f"{session}/history")
        client.get(f"{session}/history", params={"last": 1})
        large = create(client)
        for _ in range(2):
            binary_step(client, large, LARGE, LARGE)
        client.get("/v1/sessions")
        damaged = create(client).rpartition("/")[2]
        admin.set(head_key(damaged), "not a head")
        client.delete(f"/v1/sessions/{damaged}")
        client.delete(large)
        metrics = client.get("/metrics").text
        asyncio.run(contributed(url, session.rpartition("/")[2]))
    admin.zadd(tenant_key("default"), {"gone": 0})
    assert asyncio.run(swept(url)) == 3
    return metrics


async def contributed(url: str, session_id: str) -> None:
    """Save a ledger whose deadline is set and removed."""
    async with open_store(Settings(store=url)) as store:
        ledger = await ledger_saved(store, session_id=session_id, due_at=await store.now())
        assert len(await store.due()) == 1
        await ledger_saved(store, ledger, [b"a"], replaced=[ReplacedRow(1, 1, b"row")])


async def swept(url: str) -> int:
    """Sweep a store that has an old claim."""
    async with open_store(Settings(store=url)) as store:
        await store.claim(Claim("default", key_digest("key"), "gone", "", time=0.0))
        return await store.sweep()


def refused(admin: Redis) -> set[str]:
    """Return the commands that the user was refused since the last call, and that the service needs."""
    found = {entry["object"] for entry in admin.acl_log()}
    admin.acl_log_reset()
    return found - OPTIONAL


def answer_of(user: Redis, command: str, argument: str) -> str:
    """Return Redis's answer to the command with enough arguments: with too few, Redis does not check the rights."""
    words = command.split("|")
    while True:
        try:
            return str(user.execute_command(*words))
        except ResponseError as error:
            if "wrong number of arguments" not in str(error):
                return str(error)
        words.append(argument)


@pytest.mark.requirement("R13")
@pytest.mark.long
def test_the_least_redis_user_may_do_what_the_service_does(
    trial: Trial, own_redis: RedisServer, admin: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    url = redis_user.made(own_redis.url)
    assert COUNTED in live(url, admin)
    assert refused(admin) == set()
    assert caplog.messages == []
    for command in ALLOWED:
        admin.flushall()
        caplog.clear()
        admin.execute_command("ACL", "SETUSER", redis_user.NAME, f"-{command}")
        try:
            metrics = live(url, admin)
        except (StoreUnavailable, httpx2.HTTPStatusError):
            pass
        else:
            is_missed = command in OF_METRICS and COUNTED not in metrics
            assert is_missed or [record.levelno for record in caplog.records][:1] == [logging.WARNING], command
        assert refused(admin) == {command}
        admin.execute_command("ACL", "SETUSER", redis_user.NAME, f"+{command}")
        trial.tried["commands that were taken away, and missed"] += 1
    live(url, admin)


@pytest.mark.requirement("R13")
def test_the_least_redis_user_may_do_nothing_else(trial: Trial, own_redis: RedisServer, admin: Redis) -> None:
    commands = {name for category in admin.acl_cat() for name in admin.acl_cat(category)}
    assert {"flushall", "keys", "config|set", "debug", "shutdown", "module|load", "client|kill"} <= commands
    admin.set("other", "foreign")
    with Redis.from_url(redis_user.made(own_redis.url), protocol=2, socket_timeout=5) as user:
        for command in sorted(commands - set(ALLOWED) - WITHOUT_ACL):
            if not any(
                other.startswith(f"{command}|") for other in commands
            ):  # a command with subcommands does nothing itself
                assert re.search(REFUSED, answer_of(user, command, "optim:x")), command
                trial.tried["commands refused"] += 1
        for command in set(ALLOWED) - OF_NO_KEY:
            assert FOREIGN.search(answer_of(user, command, "other")), command
            trial.tried["commands on a foreign key refused"] += 1
        for script in ("return redis.call('GET', 'other')", "return redis.call('FLUSHALL')"):
            with pytest.raises(ResponseError, match=FOREIGN_IN_SCRIPT):
                user.eval(script, 0)
            trial.tried["scripts refused"] += 1
    assert admin.get("other") == b"foreign"
    assert admin.ping()


async def test_the_least_redis_user_may_back_up_and_restore(
    own_redis: RedisServer, admin: Redis, tmp_path: Path
) -> None:
    url = redis_user.made(own_redis.url)
    await made(url)
    before = content(own_redis.url)
    await backed_up(url, tmp_path / "backup")
    admin.flushall()
    assert (await restored(tmp_path / "backup", url)).sessions == SESSIONS
    assert content(own_redis.url) == before
    assert refused(admin) == set()


def test_another_database_needs_one_more_command(own_redis: RedisServer, admin: Redis) -> None:
    url = redis_user.made(own_redis.url).replace("/0", "/1")
    with pytest.raises(StoreUnavailable, match="does not let this user"):
        asyncio.run(swept(url))
    admin.execute_command("ACL", "SETUSER", redis_user.NAME, "+select")
    assert asyncio.run(swept(url)) == 1
