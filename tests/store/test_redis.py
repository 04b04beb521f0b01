"""What only Redis can do to a store: forget scripts, run out of memory, go away, answer too late or not at all."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.errors import StateDamaged, StoreUnavailable
from app.settings import Settings
from app.store import open_store, redis_saving
from app.store.base import IncompatibleStore, VersionConflict
from app.store.formats import STORE_FORMAT
from app.store.redis_names import head_key, history_key, tenant_key
from tests.chaos.fault_proxy import FaultProxy
from tests.servers import RedisServer
from tests.store.changes import DAY, change_of, row, saved, state_of
from tests.store.places import RedisPlace

MIB = 1 << 20


@pytest.fixture
async def place(own_redis: RedisServer) -> AsyncIterator[RedisPlace]:
    place = RedisPlace(own_redis.url, open_store(Settings(store=own_redis.url, store_timeout_seconds=5)))
    async with place.store:
        yield place
    place.client.close()


@pytest.fixture
def redis(place: RedisPlace) -> Redis:
    return place.client


async def test_scripts_that_redis_forgot_are_sent_again(place: RedisPlace, redis: Redis) -> None:
    head = await saved(place.store)
    redis.script_flush()
    head = await saved(place.store, head, [b"one", b"new"])
    redis.script_flush()
    assert await state_of(place.store, head) == b"onenew"
    assert await place.store.delete("session-1") is True


async def test_all_keys_of_a_session_belong_together_and_expire_together(place: RedisPlace, redis: Redis) -> None:
    expires_at = time.time() + DAY
    await saved(place.store, row=row(1), expires_at=expires_at)
    keys = {*redis.scan_iter(b"*{session-1}*")}
    assert len(keys) == 4
    assert all(abs(redis.pexpiretime(key) - expires_at * 1000) < 60_000 for key in keys)
    assert {*redis.scan_iter()} - keys == {b"optim:format", b"optim:tenants", b"optim:tenant:tenant-1"}


async def test_a_piece_expires_until_a_save_takes_it(place: RedisPlace, redis: Redis) -> None:
    change = change_of(None)
    key = f"optim:{{session-1}}:piece:{change.head.pieces[0].name}"
    redis.set(key, b"one", px=redis_saving.STAGED_MS)
    await place.store.save(change)
    assert redis.pttl(key) == -1
    assert await state_of(place.store, change.head) == b"onetwo"


async def test_a_save_that_comes_again_puts_no_expiry_on_what_is_in_use(place: RedisPlace, redis: Redis) -> None:
    first = change_of(None, [b"stays", b"old"])
    await place.store.save(first)
    await place.store.save(first)
    second = await saved(place.store, first.head, [b"stays", b"new"])
    with pytest.raises(VersionConflict):
        await place.store.save(first)
    assert await state_of(place.store, second) == b"staysnew"
    assert {redis.pttl(key) for key in redis.scan_iter(b"*{session-1}*")} == {-1}


async def test_a_save_that_takes_too_long_is_refused_whole(
    place: RedisPlace, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = await saved(place.store)
    monkeypatch.setattr(redis_saving, "STAGED_MS", 1)
    with pytest.raises(StoreUnavailable, match="expired before the save was done"):
        await saved(place.store, head, [b"%d" % i * MIB for i in range(20)], row=row(1))
    assert await place.store.load("session-1") == head
    assert await state_of(place.store, head) == b"onetwo"
    assert redis.exists(history_key("session-1")) == 0


async def test_a_save_that_would_keep_a_lost_piece_is_refused_as_damage(place: RedisPlace) -> None:
    head = await saved(place.store, None, [b"kept", b"old"])
    await place.put_piece("session-1", head.pieces[0].name, None)
    with pytest.raises(StateDamaged, match=head.pieces[0].name):
        await saved(place.store, head, [b"kept", b"new"])
    assert await place.store.load("session-1") == head


async def test_running_out_of_memory_tears_nothing(place: RedisPlace, redis: Redis) -> None:
    head = await saved(place.store, None, [bytes(MIB), b"old"], row=row(1))
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 5 * MIB)
    with pytest.raises(StoreUnavailable, match="out of memory: raise its maxmemory"):
        await saved(place.store, head, [b"%d" % i * MIB for i in range(40)], row=row(2))
    redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="out of memory"):
        await saved(place.store, head, [bytes(MIB)], document=b"nothing fresh", forget_after=0)
    assert await place.store.load("session-1") == head
    assert await state_of(place.store, head) == bytes(MIB) + b"old"
    assert await place.store.history("session-1", 0, 10) == [b"row 1"]
    assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}
    assert await place.store.delete("session-1") is True
    redis.config_set("maxmemory", 0)
    await saved(place.store)


async def test_a_server_that_went_away_is_missed_and_found_again(place: RedisPlace, own_redis: RedisServer) -> None:
    store = place.store
    head = await saved(store, row=row(1))
    own_redis.kill()
    for call in (
        store.ping,
        lambda: store.load("session-1"),
        lambda: saved(store, head),
        lambda: state_of(store, head),
    ):
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await call()
    own_redis.start()
    assert await store.load("session-1") == head
    head = await saved(store, head, [b"one", b"new"], row=row(2))
    assert await state_of(store, head) == b"onenew"
    assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2"]


async def test_a_server_that_was_started_again_is_not_missed(place: RedisPlace, own_redis: RedisServer) -> None:
    head = await saved(place.store)
    own_redis.kill()
    own_redis.start()
    for _ in range(3):
        await asyncio.sleep(0)  # the event loop hears of it
    assert await place.store.load("session-1") == head


async def test_a_server_that_is_not_there_is_an_error_at_open(own_redis: RedisServer) -> None:
    own_redis.kill()
    store = open_store(Settings(store=own_redis.url))
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await store.open()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.ping()


@pytest.mark.usefixtures("redis_url")
async def test_an_answer_that_is_lost_leaves_the_save_done_once(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(redis_server.port))
        store = await stack.enter_async_context(open_store(Settings(store=proxy.redis_url, store_timeout_seconds=0.2)))
        first = await saved(store, row=row(1))
        change = change_of(first, [b"one", b"new"], row=row(2))
        proxy.requests.clear()
        proxy.mute = True
        with pytest.raises(StoreUnavailable, match="did not answer within OPTIM_STORE_TIMEOUT_SECONDS"):
            await store.save(change)
        assert proxy.requests.count(b"EVALSHA") == 1
        proxy.mute = False
        assert await store.load("session-1") == change.head
        await store.save(change)
        assert await state_of(store, change.head) == b"onenew"
        assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2"]


@pytest.mark.usefixtures("redis_url")
async def test_a_stale_save_of_many_pieces_is_refused_before_they_are_sent(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(redis_server.port))
        store = await stack.enter_async_context(open_store(Settings(store=proxy.redis_url)))
        head = await saved(store)
        with pytest.raises(VersionConflict):
            await saved(store, replace(head, token="lost"), [b"needle %d" % i for i in range(40)])
        assert b"needle" not in proxy.requests


async def test_a_server_that_hangs_leaves_the_old_state_or_the_new(place: RedisPlace, redis: Redis) -> None:
    async with open_store(Settings(store=place.url, store_timeout_seconds=0.1)) as store:
        head = await saved(store, row=row(1))
        change = change_of(head, [b"one", b"new"], row=row(2))
        redis.execute_command("CLIENT", "PAUSE", 300, "ALL")
        with pytest.raises(StoreUnavailable):
            await store.save(change)
        found = await place.store.load("session-1")
        assert found in (head, change.head)
        assert found
        assert await state_of(place.store, found) == (b"onetwo" if found == head else b"onenew")
        await store.save(change)
        assert await state_of(store, change.head) == b"onenew"
        assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2"]


async def test_cancelled_calls_leave_no_answer_for_others(place: RedisPlace) -> None:
    store = place.store
    heads = [await saved(store, None, [b"%d" % i * 50_000], session_id=f"{i}") for i in range(8)]

    async def look(i: int) -> None:
        assert await store.load(f"{i}") == heads[i]
        assert await state_of(store, heads[i]) == b"%d" % i * 50_000

    for lap in range(60):
        tasks = [asyncio.create_task(look(i % 8)) for i in range(40)]
        await asyncio.sleep(0.0003 * (lap % 20))
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}
        assert outcomes[1::2] == [None] * 20


async def test_a_save_that_is_cancelled_anywhere_is_done_or_not_done(place: RedisPlace) -> None:
    head = await saved(place.store, None, [b"%d" % i for i in range(40)])
    for lap in range(40):
        change = change_of(head, [b"%d" % i for i in range(lap + 1, lap + 41)])
        task = asyncio.create_task(place.store.save(change))
        await asyncio.sleep(0.0002 * lap)
        task.cancel()
        await asyncio.wait([task])
        found = await place.store.load("session-1")
        assert found in (head, change.head)
        assert found
        assert await state_of(place.store, found) == b"".join(
            b"%d" % i for i in (range(lap + 1, lap + 41) if found == change.head else range(lap, lap + 40))
        )
        head = await saved(place.store, found, [b"%d" % i for i in range(lap + 1, lap + 41)])


async def test_more_calls_than_connections_wait_for_their_turn(place: RedisPlace, redis: Redis) -> None:
    head = await saved(place.store)
    assert await asyncio.gather(*(place.store.load("session-1") for _ in range(500))) == [head] * 500
    ours = [client for client in redis.client_list() if client["name"] == "optim-service"]
    assert len(ours) <= 32


async def test_a_password_is_used_and_a_wrong_one_refused_without_naming_it(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.config_set("requirepass", "p%40ss")
    url = f"redis://:{{}}@127.0.0.1:{own_redis.port}"
    async with open_store(Settings(store=url.format("p%2540ss"))) as store:
        await store.ping()
    for refused in (url.format("secret"), own_redis.url):
        with pytest.raises(StoreUnavailable, match="refuses the user or the password") as refusal:
            await open_store(Settings(store=refused)).open()
        assert "secret" not in str(refusal.value)


async def test_a_unix_socket_does_as_well(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--unixsocket", str(tmp_path / "s")).start()
    try:
        async with open_store(Settings(store=f"unix://{tmp_path / 's'}?db=3")) as store:
            head = await saved(store)
            assert await state_of(store, head) == b"onetwo"
        with server.client() as client:
            assert client.info("keyspace")["db3"]["keys"] == 6
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("mark", "message"), [(b"%d" % (STORE_FORMAT + 1), "of a newer version"), (b"x", "not of this service")]
)
async def test_a_redis_of_a_newer_version_or_of_another_is_refused(redis_url: str, mark: bytes, message: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set("optim:format", mark)
    with pytest.raises(IncompatibleStore, match=message):
        await open_store(Settings(store=redis_url)).open()


async def test_a_redis_that_may_lose_steps_is_warned_about(place: RedisPlace, redis: Redis) -> None:
    assert await place.store.warnings() == []
    redis.config_set("appendonly", "no")
    redis.config_set("maxmemory", "1gb")
    redis.config_set("maxmemory-policy", "allkeys-lru")
    memory, disk = await place.store.warnings()
    assert "noeviction" in memory
    assert "no append-only file" in disk


async def test_a_delete_between_whose_look_and_leap_a_save_comes_takes_that_too(
    place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = await saved(place.store)
    leap = place.store._redis.run

    async def after_a_save(*arguments: Any) -> Any:
        monkeypatch.undo()
        await saved(place.store, head, [b"one", b"new"])
        return await leap(*arguments)

    monkeypatch.setattr(place.store._redis, "run", after_a_save)
    assert await place.store.delete("session-1") is True
    assert await place.pieces("session-1") == {}
    assert await place.store.load("session-1") is None


async def test_a_head_of_the_wrong_kind_is_an_error_that_says_so(place: RedisPlace, redis: Redis) -> None:
    redis.lpush(head_key("session-1"), "not a head")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await place.store.load("session-1")


async def test_the_index_is_mended_when_a_list_or_a_sweep_meets_what_is_gone(place: RedisPlace, redis: Redis) -> None:
    for i in range(40):
        redis.zadd(tenant_key("tenant-1"), {f"gone-{i}": 0})
    head = await saved(place.store)
    assert await place.store.list("tenant-1", 10) == [head]
    assert redis.zcard(tenant_key("tenant-1")) == 1
    redis.zadd(tenant_key("tenant-1"), {f"gone-{i}": 0 for i in range(40)})
    assert await place.store.sweep() == 40
    assert redis.zrange(tenant_key("tenant-1"), 0, -1) == [b"session-1"]


async def test_a_new_session_is_listed_though_others_sweep_between_its_commands(
    place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = place.store._redis.ask
    async with open_store(Settings(store=place.url)) as other:

        async def one_by_one(*commands: Any) -> list[Any]:
            answers = []
            for command in commands:
                answers += await ask(command)
                await other.sweep()
            return answers

        monkeypatch.setattr(place.store._redis, "ask", one_by_one)
        head = await saved(place.store)
        assert await other.list("tenant-1", 10) == [head]


@pytest.mark.parametrize("pieces", [2, 40])
async def test_the_pieces_of_a_refused_save_go_at_once(place: RedisPlace, pieces: int) -> None:
    head = await saved(place.store)
    with pytest.raises(VersionConflict):
        await saved(place.store, replace(head, token="lost"), [b"%d" % i for i in range(pieces)])
    assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}
