"""Leftovers in Redis: freed by the next save, one before each new piece, and never one that a head needs."""

import asyncio
import re
import time
from dataclasses import replace

import pytest
from redis import Redis

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store, redis_leftovers
from app.store.base import Head, Save, Store
from app.store.piece import Piece
from app.store.redis_leftovers import AHEAD, LEFT_BYTES, left
from app.store.redis_names import piece_key
from app.store.stamp import VersionConflict
from tests.chaos.fault_proxy import FaultProxy
from tests.chaos.faulty_store import Fault, FaultyRedis, faulty_store
from tests.servers import RedisServer
from tests.store.changes import DAY, change_of, row, saved, state_of
from tests.store.leftovers import COUNT, check, lap, loaded, parts_of
from tests.store.places import RedisPlace
from tests.store.savings import begun

MIB = 1 << 20


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small states have leftovers too."""
    monkeypatch.setattr(redis_leftovers, "LEFT_BYTES", 1)


def large(pieces: int) -> Save:
    parts = tuple(Piece(f"1-a-{i}", MIB, "") for i in range(pieces))
    return Save(Head("s", "t", 2, "b", b""), Head("s", "t", 1, "a", b"", parts))


def test_only_large_states_leave_their_pieces() -> None:
    least = LEFT_BYTES // MIB
    assert left(large(least)) == tuple(f"1-a-{i}" for i in range(least))
    assert left(large(least - 1)) == ()
    assert left(replace(large(least), previous=None)) == ()


@pytest.mark.long
async def test_a_large_session_never_takes_more_than_two_states(redis_place: RedisPlace, redis: Redis) -> None:
    """A state takes what Redis's allocator gives it: jemalloc gives a piece of a MiB a quarter more."""
    count, empty = LEFT_BYTES // MIB + 4, redis.info("memory")["used_memory"]
    await saved(redis_place.store, None, [b"0" * MIB] * count)
    one = redis.info("memory")["used_memory"] - empty
    for number in range(1, 5):
        await saved(redis_place.store, await redis_place.store.load("session-1"), [b"%d" % number * MIB] * count)
    assert redis.info("memory")["used_memory_peak"] - empty < 2.3 * one
    head = await loaded(redis_place.store)
    assert await state_of(redis_place.store, head) == b"4" * MIB * count
    assert len(head.leftovers) == count


@pytest.mark.usefixtures("any_size")
async def test_replaced_pieces_expire_until_the_next_save_frees_them(redis_place: RedisPlace) -> None:
    first = await lap(redis_place.store, 1)
    assert first.leftovers == ()
    second = await lap(redis_place.store, 2)
    assert second.leftovers == tuple(piece.name for piece in first.pieces)
    assert second.state_bytes == len(b"".join(parts_of(2)))
    assert set(await redis_place.pieces("session-1")) == {*second.leftovers, *(piece.name for piece in second.pieces)}
    await check(redis_place)
    third = await lap(redis_place.store, 3)
    assert third.leftovers == tuple(piece.name for piece in second.pieces)
    assert set(await redis_place.pieces("session-1")) == {*third.leftovers, *(piece.name for piece in third.pieces)}
    await check(redis_place)


@pytest.mark.usefixtures("any_size")
async def test_an_idle_sessions_leftovers_expire(redis_place: RedisPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.redis_save.LEFT_MS", 50)
    await lap(redis_place.store, 1)
    head = await lap(redis_place.store, 2)
    await asyncio.sleep(0.1)
    assert set(await redis_place.pieces("session-1")) == {piece.name for piece in head.pieces}
    head = await lap(redis_place.store, 3)
    assert await state_of(redis_place.store, head) == b"".join(parts_of(3))


@pytest.mark.usefixtures("any_size")
async def test_leftovers_live_no_longer_than_their_session(redis_place: RedisPlace, redis: Redis) -> None:
    head = await saved(redis_place.store, None, expires_at=time.time() + DAY)
    await saved(redis_place.store, head, [b"new", b"newer"], expires_at=time.time() + 10)
    assert all(0 < redis.pttl(piece_key("session-1", piece.name)) <= 10_000 for piece in head.pieces)


@pytest.mark.usefixtures("any_size", "redis_url")
@pytest.mark.parametrize("written", [0, 7, COUNT])
async def test_each_leftover_is_freed_right_before_a_piece(redis_server: RedisServer, written: int) -> None:
    async with FaultProxy(redis_server.port) as proxy, open_store(Settings(store=proxy.redis_url)) as store:
        first = await lap(store, 1)
        second = await lap(store, 2)
        change = change_of(second, parts_of(3))
        proxy.requests.clear()
        async with begun(store, change, change.fresh[:written]) as saving:
            await saving.save(change)
        sent = proxy.requests.partition(b"EVALSHA")[0]
        commands = re.findall(rb"\r\n(EVAL|SET)\r\n|piece:(\S+)\r\n", sent)
    old, new = ([piece.name.encode() for piece in head.pieces] for head in (first, change.head))
    expected = [(b"EVAL", *old[: AHEAD + 1], b"SET", new[0])]
    expected += [(b"EVAL", freed, b"SET", put) for freed, put in zip(old[AHEAD + 1 :], new[1:], strict=False)]
    expected += [(b"SET", put) for put in new[-AHEAD:]]
    assert [verb or name for verb, name in commands] == [word for words in expected for word in words]


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("count", [0, 3, 40])
async def test_a_change_of_size_leaves_only_the_last_pieces(redis_place: RedisPlace, count: int) -> None:
    await lap(redis_place.store, 1)
    second = await lap(redis_place.store, 2)
    third = await lap(redis_place.store, 3, count)
    names = {piece.name for head in (second, third) for piece in head.pieces}
    assert set(await redis_place.pieces("session-1")) == names
    await check(redis_place)


@pytest.mark.usefixtures("any_size")
async def test_a_save_of_no_pieces_frees_all_leftovers(redis_place: RedisPlace) -> None:
    await lap(redis_place.store, 1)
    second = await lap(redis_place.store, 2)
    await saved(redis_place.store, second, parts_of(2), document=b"other settings")
    assert set(await redis_place.pieces("session-1")) == {piece.name for piece in second.pieces}
    await check(redis_place)


@pytest.mark.usefixtures("any_size")
async def test_a_deletion_takes_the_leftovers_too(redis_place: RedisPlace) -> None:
    await lap(redis_place.store, 1)
    await lap(redis_place.store, 2)
    assert await redis_place.store.delete("session-1") is True
    assert await redis_place.pieces("session-1") == {}


@pytest.mark.usefixtures("any_size")
async def test_a_save_without_the_loaded_head_lets_leftovers_expire(redis_place: RedisPlace) -> None:
    first = await saved(redis_place.store, None, parts_of(1))
    second = await saved(redis_place.store, first, parts_of(2))
    await saved(redis_place.store, second, parts_of(3))
    assert len(await redis_place.pieces("session-1")) == 3 * COUNT
    await check(redis_place, *(piece.name for piece in first.pieces))


@pytest.mark.usefixtures("any_size")
async def test_a_reader_of_the_replaced_version_is_told_so(redis_place: RedisPlace) -> None:
    first = await lap(redis_place.store, 1)
    await lap(redis_place.store, 2)
    assert set(await redis_place.pieces("session-1")) > {piece.name for piece in first.pieces}
    with pytest.raises(VersionConflict):
        await state_of(redis_place.store, first)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("written", [0, 7, COUNT])
async def test_a_lost_race_leaves_the_winner_whole(redis_place: RedisPlace, written: int) -> None:
    async with open_store(Settings(store=redis_place.url)) as other:
        await lap(redis_place.store, 1)
        second = await lap(redis_place.store, 2)
        change = change_of(second, parts_of(4))
        async with begun(redis_place.store, change, change.fresh[:written]) as saving:
            third = await lap(other, 3)
            with pytest.raises(VersionConflict):
                await saving.save(change)
        assert await state_of(other, third) == b"".join(parts_of(3))
        assert set(await redis_place.pieces("session-1")) == {*third.leftovers, *(piece.name for piece in third.pieces)}
        await check(redis_place)
        await lap(other, 4)
        await check(redis_place)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("again", ["at once", "after the next save"])
async def test_a_repeated_save_frees_nothing_in_use(redis_place: RedisPlace, again: str) -> None:
    await lap(redis_place.store, 1)
    change = change_of(await lap(redis_place.store, 2), parts_of(3))
    await redis_place.store.save(change)
    if again == "at once":
        await redis_place.store.save(change)
    else:
        await lap(redis_place.store, 4)
        with pytest.raises(VersionConflict):
            await redis_place.store.save(change)
    await check(redis_place)


@pytest.fixture
async def reverted(redis_place: RedisPlace, redis: Redis) -> tuple[Head, Head]:
    """Let Redis lose the last save, as a failover may; return the head that it holds, and the lost one."""
    await lap(redis_place.store, 1)
    second = await lap(redis_place.store, 2)
    kept = {key: (max(redis.pttl(key), 0), redis.dump(key)) for key in redis.scan_iter(b"*{session-1}*")}
    third = await lap(redis_place.store, 3)
    redis.delete(*redis.scan_iter(b"*{session-1}*"))
    for key, value in kept.items():
        redis.restore(key, *value)
    return second, third


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("written", [0, COUNT])
async def test_a_save_after_a_lost_one_frees_nothing(
    redis_place: RedisPlace, reverted: tuple[Head, Head], written: int
) -> None:
    second, third = reverted
    assert set(third.leftovers) == {piece.name for piece in second.pieces}
    change = change_of(third, parts_of(4))
    async with begun(redis_place.store, change, change.fresh[:written]) as saving:
        with pytest.raises(VersionConflict):
            await saving.save(change)
    assert await loaded(redis_place.store) == second
    assert await state_of(redis_place.store, second) == b"".join(parts_of(2))
    await check(redis_place)
    await lap(redis_place.store, 3)
    await check(redis_place)


@pytest.mark.usefixtures("any_size")
async def test_leftovers_survive_a_restart_of_redis_and_still_expire(
    redis_place: RedisPlace, own_redis: RedisServer
) -> None:
    await lap(redis_place.store, 1)
    await lap(redis_place.store, 2)
    own_redis.kill()
    own_redis.start()
    for _ in range(3):
        await asyncio.sleep(0)  # the event loop hears of it
    await check(redis_place)
    await lap(redis_place.store, 3)
    await check(redis_place)


@pytest.mark.usefixtures("any_size")
async def test_a_left_saving_harms_neither_head_nor_leftovers(redis_place: RedisPlace) -> None:
    await lap(redis_place.store, 1)
    second = await lap(redis_place.store, 2)
    with pytest.raises(MemoryError):
        async with begun(redis_place.store, change_of(second, parts_of(3))):
            raise MemoryError
    assert await state_of(redis_place.store, second) == b"".join(parts_of(2))
    await check(redis_place)
    await lap(redis_place.store, 3)
    await check(redis_place)


@pytest.mark.usefixtures("any_size")
async def test_two_workers_in_turns_leave_two_states(redis_place: RedisPlace) -> None:
    async with open_store(Settings(store=redis_place.url)) as other:
        for number in range(12):
            head = await lap((redis_place.store, other)[number // 2 % 2], number)
            assert len(await redis_place.pieces("session-1")) <= 2 * COUNT
            assert await state_of(other, head) == b"".join(parts_of(number))
    await check(redis_place)


@pytest.mark.usefixtures("any_size")
async def test_two_workers_at_once_lose_no_save(redis_place: RedisPlace) -> None:
    async def work(store: Store) -> int:
        won = 0
        for number in range(25):
            try:
                head = await lap(store, number)
                won += 1
                await state_of(store, head)
            except VersionConflict:
                await asyncio.sleep(0)
        return won

    async with open_store(Settings(store=redis_place.url)) as other:
        await lap(other, 0)
        won = await asyncio.gather(work(redis_place.store), work(other))
    assert (await loaded(redis_place.store)).version >= 1 + sum(won)
    await check(redis_place)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("kind", ["failed", "cancelled"])
@pytest.mark.parametrize("written", [0, 3])
@pytest.mark.long
async def test_a_fault_at_any_call_leaves_old_or_new_pieces(redis_url: str, kind: str, written: int) -> None:
    async with open_store(Settings(store=redis_url)) as calm, faulty_store(redis_url) as store:
        place = RedisPlace(redis_url, calm)
        await lap(calm, 1)
        for at in range(1, 1000):
            old = await lap(calm, 2 * at)
            change = change_of(old, parts_of(2 * at + 1), row=row(1))
            if not await _hit(store, change, written, at, kind):
                break
            assert await loaded(calm) in (old, change.head)
            await check(place, *old.leftovers, *(piece.name for piece in change.head.pieces))
            await calm.save(change)
            assert await loaded(calm) == change.head
            await check(place, *old.leftovers)
        assert at > 2 * COUNT
        place.client.close()


async def _hit(store: FaultyRedis, change: Save, written: int, at: int, kind: str) -> bool:
    """Save with a fault at the n-th moment; return whether that came."""

    async def save() -> None:
        async with begun(store, change, change.fresh[:written]) as saving:
            await saving.save(change)

    task = asyncio.create_task(save())
    strike = store.fail if kind == "failed" else lambda: asyncio.get_running_loop().call_soon(task.cancel)
    store.fault = fault = Fault(at, strike)
    await asyncio.wait([task])
    store.fault = None
    if not task.cancelled() and (error := task.exception()):
        assert isinstance(error, StoreUnavailable)
    return fault.struck is not None


@pytest.mark.usefixtures("any_size")
async def test_a_full_redis_takes_a_save_in_place_of_leftovers(redis_place: RedisPlace, redis: Redis) -> None:
    for first in (0, 20, 40):
        if first == 40:
            redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 4 * MIB)
        parts = [bytes([first + i]) * MIB for i in range(12)]
        await saved(redis_place.store, await redis_place.store.load("session-1"), parts)
    assert await state_of(redis_place.store, await loaded(redis_place.store)) == b"".join(parts)
    redis.config_set("maxmemory", 0)
    await check(redis_place)
