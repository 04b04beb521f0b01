"""Pieces in Redis."""

from app.store.piece import Piece
from app.store.redis_names import head_key, ledger_key
from app.store.redis_pieces import BATCH, STAGED_MS, batched, put, unlink
from tests.store.changes import saved
from tests.store.places import RedisPlace


def test_a_batch_has_as_many_items_as_it_may() -> None:
    assert [len(batch) for batch in batched(range(2 * BATCH + 1))] == [BATCH, BATCH, 1]
    assert batched(()) == []


def test_a_piece_is_put_once_and_for_a_time() -> None:
    data = memoryview(b"data")
    command = put("session-1", (Piece("1-a-0", 4, ""), data))
    assert command == ("SET", "optim:{session-1}:piece:1-a-0", data, "NX", "PX", STAGED_MS)


async def test_nothing_is_unlinked_beside_another_head_or_ledger(redis_place: RedisPlace) -> None:
    client, head = redis_place.store._redis, await saved(redis_place.store)
    data, pieces = await redis_place.head("session-1"), await redis_place.pieces("session-1")
    keys = [f"optim:{{session-1}}:piece:{name}" for name in pieces]
    for held in ({head_key("session-1"): b"another"}, {head_key("session-1"): data, ledger_key("session-1"): b"one"}):
        assert await unlink(client, held, keys) is False
    assert await redis_place.pieces("session-1") == pieces
    assert await unlink(client, {head_key("session-1"): data, ledger_key("session-1"): None}, keys) is True
    assert await redis_place.pieces(head.session_id) == {}
