"""The deletion of a session in Redis: all its keys at once, if head and ledger still are those that named them."""

import glob
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from app.errors import StateDamaged
from app.store import ledger_envelope, redis_due
from app.store.base import Head, IncompatibleStore
from app.store.envelope import decode, has_expired, peek
from app.store.ledger import Ledger
from app.store.redis_commands import Commands
from app.store.redis_index import Index
from app.store.redis_names import (
    created_key,
    head_key,
    history_key,
    keys_key,
    ledger_key,
    marks_key,
    outline_key,
    piece_key,
    piece_keys,
    session_key,
    thinned_key,
)
from app.store.redis_pieces import unlink
from app.store.stamp import Stamp, VersionConflict

Found = TypeVar("Found", Head, Ledger)


async def delete(client: Commands, index: Index, session_id: str, expected: Stamp | None) -> bool:
    """Delete a session, as `Store.delete` promises."""
    while True:
        data, waiting = await client.ask(("GET", head_key(session_id)), ("GET", ledger_key(session_id)))
        if data is None or has_expired(data):
            return False
        if expected is not None and peek(session_id, data).stamp != expected:
            raise VersionConflict(f"session {session_id} is no longer at {expected}")
        head, ledger = _readable(decode, session_id, data), _readable(ledger_envelope.decode, session_id, waiting)
        if head is None or (ledger is None and waiting is not None):
            keys = await _scan(client, session_id)
        else:
            keys = _keys(head, ledger)
        if await unlink(client, {head_key(session_id): data, ledger_key(session_id): waiting}, keys):
            if head:
                await index.forget(head.tenant, [session_id])
            if entry := redis_due.removed(ledger):
                await client.ask(*entry)
            return True


def _readable(decode: Callable[[str, bytes], Found], session_id: str, data: bytes | None) -> Found | None:
    """Return the head or ledger in these bytes; `None` if there is none, or none that can be read."""
    with suppress(StateDamaged, IncompatibleStore):
        return None if data is None else decode(session_id, data)
    return None


def _keys(head: Head, ledger: Ledger | None) -> list[str]:
    """Return every key of a session."""
    session_id = head.session_id
    makers = (head_key, history_key, marks_key, thinned_key, outline_key, keys_key, ledger_key)
    own = [make(session_id) for make in makers]
    pieces = piece_keys(session_id, (*head.kept, *(ledger.pieces if ledger else ())))
    return [*own, *pieces, *(piece_key(session_id, name) for name in head.leftovers)]


async def _scan(client: Commands, session_id: str) -> list[str]:
    """Return every key of a session whose head or ledger cannot be read."""
    pattern, keys = glob.escape(session_key(session_id, "")) + "*", list[str]()
    for server in client.servers:
        cursor, is_first = 0, True
        while is_first or cursor:
            is_first = False
            ((cursor, found),) = await server.ask(("SCAN", cursor, "MATCH", pattern, "COUNT", 1000))
            cursor = int(cursor)
            keys += [key.decode() for key in found if key.decode() != created_key(session_id)]
    return keys
