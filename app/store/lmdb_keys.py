"""Used idempotency keys in an LMDB file.

keys     digest(session) k digest(key)      the key's row
         digest(session) n number           the time of its use, and its digest: numbers rise by one
"""

import struct
import time
from typing import NamedTuple

from app.store.base import KeyUsed, Save
from app.store.keys import TRIMMED, KeyMemory, UsedKey
from app.store.lmdb_rows import Transaction, digest, number
from app.store.lmdb_tables import Tables

TIME = struct.Struct(">d")


class Use(NamedTuple):
    """One use of a key, and its number among those of the session."""

    number: int
    time: float
    key: UsedKey


def _row_key(session: bytes, key: str) -> bytes:
    return session + b"k" + bytes.fromhex(key)


def row_of(transaction: Transaction, tables: Tables, session_id: str, key: str) -> bytes | None:
    """Return the row of a used key, given by its digest."""
    row = transaction.get(_row_key(digest(session_id), key), db=tables.keys)
    return None if row is None else bytes(row)


def check(transaction: Transaction, tables: Tables, save: Save) -> None:
    """Raise `KeyUsed` if the session has used a key of the save before."""
    if save.previous is None:
        return
    session_id = save.head.session_id
    for used in save.used:
        if row_of(transaction, tables, session_id, used.digest) is not None:
            raise KeyUsed(f"session {session_id}: the key was used before")


def remember(transaction: Transaction, tables: Tables, save: Save, memory: KeyMemory) -> None:
    """Write the keys of a save, mark an undone one, and forget old ones."""
    session, now = digest(save.head.session_id), time.time()
    if save.undone is not None and save.undone.key is not None:
        _mark(transaction, tables, session, save.undone.key)
    if not save.used:
        return
    last = last_number(transaction, tables, session)
    for used in save.used:
        last += 1
        put(transaction, tables, session, Use(last, now, used))
    if last > min(memory.count, memory.most):
        _trim(transaction, tables, session, last, memory)


def put(transaction: Transaction, tables: Tables, session: bytes, use: Use) -> None:
    """Write one use of a key."""
    key = bytes.fromhex(use.key.digest)
    transaction.put(session + b"k" + key, use.key.row, db=tables.keys)
    transaction.put(session + b"n" + number(use.number), TIME.pack(use.time) + key, db=tables.keys)


def _mark(transaction: Transaction, tables: Tables, session: bytes, undone: UsedKey) -> None:
    """Replace the row of an undone step's key, if it is still known."""
    key = _row_key(session, undone.digest)
    if transaction.get(key, db=tables.keys) is not None:
        transaction.put(key, undone.row, db=tables.keys)


def last_number(transaction: Transaction, tables: Tables, session: bytes) -> int:
    """Return the number of the session's last use of a key, 0 without one."""
    with transaction.cursor(tables.keys) as cursor:
        found = cursor.prev() if cursor.set_range(session + b"o") else cursor.last()
        key = bytes(cursor.key()) if found else b""
    return int.from_bytes(key[17:], "big") if key.startswith(session + b"n") else 0


def _trim(transaction: Transaction, tables: Tables, session: bytes, last: int, memory: KeyMemory) -> None:
    with transaction.cursor(tables.keys) as cursor:
        for _ in range(TRIMMED):
            cursor.set_range(session + b"n")
            oldest, value = bytes(cursor.key()), bytes(cursor.value())
            (used_at,) = TIME.unpack(value[: TIME.size])
            if not memory.may_forget(last - int.from_bytes(oldest[17:], "big"), used_at):
                return
            transaction.delete(oldest, db=tables.keys)
            transaction.delete(_row_key(session, value[TIME.size :].hex()), db=tables.keys)
