"""A session in Redis that is saved lap by lap, and a look at what each lap leaves."""

from app.store.base import Head, Store
from app.store.redis_leftovers import LEFT_MS
from app.store.redis_names import piece_key
from app.store.redis_pieces import STAGED_MS
from tests.store.changes import row, saved, state_of
from tests.store.places import RedisPlace

COUNT = 20
"""The number of pieces: more than one pipeline has."""


def parts_of(lap: int, count: int = COUNT) -> list[bytes]:
    return [b"%d of %d" % (i, lap) for i in range(count)]


async def loaded(store: Store) -> Head:
    head = await store.load("session-1")
    assert head
    return head


async def lap(store: Store, number: int, count: int = COUNT) -> Head:
    """Save other pieces; return the head as the store has it."""
    await saved(store, await store.load("session-1"), parts_of(number, count), row=row(number))
    return await loaded(store)


async def check(place: RedisPlace, *others: str) -> None:
    """Assert that the head's pieces are whole and stay, and that all others expire: its leftovers, and `others`."""
    head = await loaded(place.store)
    await state_of(place.store, head)
    own = {piece.name for piece in head.pieces}
    ends = {name: place.client.pttl(piece_key("session-1", name)) for name in await place.pieces("session-1")}
    assert {ends.pop(name) for name in own} <= {-1}
    assert set(ends) <= {*head.leftovers, *others}
    assert all(
        0 < milliseconds <= (LEFT_MS if name in head.leftovers else STAGED_MS) for name, milliseconds in ends.items()
    )
