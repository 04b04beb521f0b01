"""One session in Redis, read as of one moment while services step it.

One script reads what is small at once: head, ledger, the newest rows and keys, and the pieces of a small state. Larger
pieces and older rows are read after it. A piece never changes under its name, so those that are there are those of that
moment; if one is gone, the session has moved on, and must be read again.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import orjson

from app.errors import ServiceError
from app.store import ledger_envelope
from app.store.envelope import decode, has_expired
from app.store.piece import Piece
from app.store.redis_commands import Commands
from app.store.redis_names import (
    head_key,
    history_key,
    keys_key,
    ledger_key,
    marks_key,
    piece_keys,
    thinned_key,
)
from app.store.redis_pieces import batched
from app.store.redis_scripts import SNAPSHOT
from app.store.sealed import LABEL_BYTES
from app.store.snapshot import PIECE, About, Frame, Member, framed
from app.store.stamp import VersionConflict

NEWEST = 1000
"""The rows, and the keys, that the script reads. No save changes older ones, but it may remove them."""
AT_ONCE_BYTES = 4 << 20
"""The largest state whose pieces the script reads. Redis does nothing else meanwhile."""
PIECES = 32
"""The pieces that are read at once after it. The next saves leave larger states for a while (`redis_leftovers`)."""

OWN = (head_key, ledger_key, history_key, keys_key, marks_key, thinned_key)


class Found(NamedTuple):
    """The answer of the script; without `pieces` for a larger state."""

    head: bytes
    ledger: bytes | None
    rows: list[bytes]
    thinned: bytes | None
    marks: list[bytes]
    numbers: bytes | None
    keys: list[bytes | None]
    pieces: list[bytes | None] | None


async def members(client: Commands, about: About) -> AsyncIterator[Member]:
    """Yield the members of a session, as `Source.members` promises."""
    keys = [make(about.session_id) for make in OWN]
    answer = await client.run(SNAPSHOT, keys, (NEWEST, AT_ONCE_BYTES))
    if answer is None or has_expired(answer[0]):
        return
    found = Found(*answer)
    yield about.member()
    yield Member("head", found.head)
    if found.ledger is not None:
        yield Member("ledger", found.ledger)
    async for member in framed("history", _history(client, about.session_id, found.rows)):
        yield member
    if found.thinned is not None:
        yield await _thinned(client, about.session_id, found.thinned)
    async for member in framed("marks", _marks(found)):
        yield member
    async for member in framed("keys", _keys(client, about.session_id, found)):
        yield member
    async for member in _pieces(client, about.session_id, found):
        yield member


async def _history(client: Commands, session_id: str, newest: Sequence[bytes]) -> AsyncIterator[Frame]:
    """Yield the older rows, then the newest. Raises `VersionConflict` if these do not follow those any more."""
    if len(newest) == NEWEST:
        key, first, after = history_key(session_id), newest[0], "-inf"
        while page := await _older(client, key, after, first):
            for member in page:
                yield _row(member)
            after = f"({int(page[-1][:16])}"
        if first[:32] not in await _sharing(client, key, first):
            raise VersionConflict(f"session {session_id}: rows of its history were removed meanwhile")
    for member in newest:
        yield _row(member)


async def _older(client: Commands, key: str, after: str, first: bytes) -> list[bytes]:
    """Return the next rows that are before `first`: whole steps, and about `NEWEST` rows."""
    (page,) = await client.ask(("ZRANGEBYSCORE", key, after, int(first[:16]), "LIMIT", 0, NEWEST))
    if page:
        step = int(page[-1][:16])
        (sharing,) = await client.ask(("ZRANGEBYSCORE", key, step, step))
        page = [member for member in page if int(member[:16]) < step] + sharing
    return [member for member in page if member[:32] < first[:32]]


async def _sharing(client: Commands, key: str, row: bytes) -> set[bytes]:
    """Return the places of all rows of a row's step."""
    (found,) = await client.ask(("ZRANGEBYSCORE", key, int(row[:16]), int(row[:16])))
    return {member[:32] for member in found}


async def _thinned(client: Commands, session_id: str, thinned: bytes) -> Member:
    """Return how far the history is thinned. If it went on while the rows were read, its pass begins anew."""
    doublings, older, hand, left, notable = map(int, thinned.split())
    (now,) = await client.ask(("GET", thinned_key(session_id)))
    if now != thinned:
        hand, left = 0, older
    return Member("thinned", orjson.dumps([doublings, older, hand, left, notable]))


async def _marks(found: Found) -> AsyncIterator[Frame]:
    for member in found.marks:
        kind, _, body = member[16:].partition(b" ")
        yield Frame((int(member[:16]), kind.decode()), body)


def _row(member: bytes) -> Frame:
    return Frame((int(member[:16]), int(member[16:32])), member[32:])


async def _keys(client: Commands, session_id: str, found: Found) -> AsyncIterator[Frame]:
    """Yield the older keys, then the newest. Those that were forgotten meanwhile are left out."""
    if found.numbers is None:
        return
    key, (first, newest) = keys_key(session_id), map(int, found.numbers.split())
    for start in range(first, newest - NEWEST + 1, NEWEST):
        (uses,) = await client.ask(("HMGET", key, *range(start, min(start + NEWEST, newest - NEWEST + 1))))
        digests = [_digest(use) if use else "-" for use in uses]
        (rows,) = await client.ask(("HMGET", key, *digests))
        for frame in _used(uses, rows):
            yield frame
    for frame in _used(found.keys[::2], found.keys[1::2]):
        yield frame


def _used(uses: Sequence[bytes | None], rows: Sequence[bytes | None]) -> Iterator[Frame]:
    for use, row in zip(uses, rows, strict=True):
        if use is not None and row is not None:
            yield Frame((float(use.partition(b" ")[0]), _digest(use)), row)


def _digest(use: bytes) -> str:
    return use.partition(b" ")[2].decode()


async def _pieces(client: Commands, session_id: str, found: Found) -> AsyncIterator[Member]:
    """Yield the pieces that the script read, and read the others: also those that a cluster was just moving."""
    here = dict(zip(found.pieces[::2], found.pieces[1::2], strict=True)) if found.pieces else {}
    others: list[Piece] = []
    for piece in _named(session_id, found):
        if (data := here.get(piece.name.encode())) is not None:
            yield Member(PIECE + piece.name, data)
        else:
            others.append(piece)
    for some in batched(others, PIECES):
        answers = await client.ask(*(("GET", key) for key in piece_keys(session_id, some)))
        for piece, data in zip(some, answers, strict=True):
            if data is not None:
                yield Member(PIECE + piece.name, data)
            else:
                await _expect(client, session_id, found)


def _named(session_id: str, found: Found) -> list[Piece]:
    """Return the pieces that head and ledger name, as far as these can be read: those first that saves free first."""
    pieces: list[Piece] = []
    with suppress(ServiceError):
        pieces += ledger_envelope.decode(session_id, found.ledger).pieces if found.ledger else ()
    with suppress(ServiceError):
        head = decode(session_id, found.head)
        for generation in reversed(head.earlier):
            pieces += generation.all_pieces
        pieces += head.pieces
    return list(dict.fromkeys(pieces))


async def _expect(client: Commands, session_id: str, found: Found) -> None:
    """Raise `VersionConflict` unless the session is still as it was found: then a piece of it is lost."""
    keys = (head_key(session_id), ledger_key(session_id))
    labels = await client.ask(*(("GETRANGE", key, 0, LABEL_BYTES - 1) for key in keys))
    if labels != [found.head[:LABEL_BYTES], (found.ledger or b"")[:LABEL_BYTES]]:
        raise VersionConflict(f"session {session_id} has moved on")
