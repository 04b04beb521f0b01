"""One session in Redis as of one moment: what is lost is told from what has moved on."""

import asyncio
import os
from collections.abc import AsyncIterator

import orjson
import pytest

from app.store import redis_snapshot
from app.store.redis import RedisStore
from app.store.redis_client import Client
from app.store.redis_commands import Commands
from app.store.redis_names import head_key, piece_keys, thinned_key
from app.store.redis_patience import PatientCluster
from app.store.redis_snapshot import PIECES, members
from app.store.snapshot import About, frames_of
from app.store.stamp import VersionConflict
from tests.redis_cluster import Move, RedisCluster
from tests.store.changes import mark, row, saved, used
from tests.store.clusters import slot
from tests.store.places import RedisPlace

ABOUT = About.of("session-1", "tenant-1")
LARGE = [os.urandom(1 << 20) for _ in range(PIECES + 8)]


@pytest.fixture
async def client(redis_place: RedisPlace) -> AsyncIterator[Client]:
    client = Client(redis_place.url, 10)
    client.open()
    yield client
    await client.close()


async def names(client: Commands) -> list[str]:
    return [member.name async for member in members(client, ABOUT)]


async def test_a_session_that_is_gone_has_no_members(client: Client) -> None:
    assert await names(client) == []


async def test_a_lost_piece_is_left_out(redis_place: RedisPlace, client: Client) -> None:
    for parts in ([b"one", b"two"], LARGE):
        head = await saved(redis_place.store, await redis_place.store.load("session-1"), parts)
        whole = await names(client)
        assert whole == ["about", "head", *(f"piece/{piece.name}" for piece in head.pieces)]
        await redis_place.put_piece("session-1", head.pieces[1].name, None)
        assert await names(client) == [name for name in whole if name != f"piece/{head.pieces[1].name}"]


async def test_a_session_that_moves_on_is_a_conflict(redis_place: RedisPlace, client: Client) -> None:
    await saved(redis_place.store, None, LARGE)
    stream = members(client, ABOUT)
    assert [(await anext(stream)).name for _ in range(3)][:2] == ["about", "head"]
    for other in (b"other" * 9, b"again" * 9):
        await saved(redis_place.store, await redis_place.store.load("session-1"), [other] * len(LARGE))
    with pytest.raises(VersionConflict, match="session-1 has moved on"):
        async for _ in stream:
            pass


async def test_a_session_whose_slot_moves_is_whole(redis_cluster: RedisCluster, cluster_url: str) -> None:
    cluster, move = PatientCluster(cluster_url, 5), Move(redis_cluster, slot(head_key("session-1")))
    cluster.open()
    head = await saved(RedisStore(cluster, 100))
    pieces = [f"piece/{piece.name}" for piece in head.pieces]
    await asyncio.to_thread(move.begin)
    await asyncio.to_thread(move.keys, *(key.encode() for key in piece_keys("session-1", head.pieces[:1])))
    reading = asyncio.create_task(names(cluster))
    await asyncio.sleep(0.2)
    assert not reading.done()
    await asyncio.to_thread(move.keys)
    await asyncio.to_thread(move.end)
    assert await reading == ["about", "head", *pieces]
    await cluster.close()


async def test_rows_that_were_forgotten_meanwhile_are_a_conflict(
    redis_place: RedisPlace, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_snapshot, "NEWEST", 5)
    head = None
    for n in range(12):
        head = await saved(redis_place.store, head, row=row(n), used=[used(f"{n}")], mark=mark(f"{n}"))
    found = {member.name: member async for member in members(client, ABOUT)}
    assert [frame.values[0] for frame in frames_of(found["history/1"])] == list(range(12))
    assert [frame.body for frame in frames_of(found["keys/1"])] == [b"row of %d" % n for n in range(12)]
    assert [tuple(frame) for frame in frames_of(found["marks/1"])] == [
        ([n + 1, "settings"], b"%d" % n) for n in range(12)
    ]
    stream = members(client, ABOUT)
    await anext(stream)
    await saved(redis_place.store, head, forget_after=2)
    with pytest.raises(VersionConflict, match="rows of its history were removed meanwhile"):
        async for _ in stream:
            pass


async def test_thinning_that_goes_on_begins_its_pass_anew(redis_place: RedisPlace, client: Client) -> None:
    await saved(redis_place.store, row=row(1))
    for later, expected in ((None, [2, 10, 7, 3, 1]), ("2 11 7 3 1", [2, 10, 0, 10, 1])):
        redis_place.client.set(thinned_key("session-1"), "2 10 7 3 1")
        found = {}
        async for member in members(client, ABOUT):
            found[member.name] = bytes(member.data)
            if member.name == "head" and later:
                redis_place.client.set(thinned_key("session-1"), later)
        assert orjson.loads(found["thinned"]) == expected
