"""Idempotency keys in the LMDB file.

keys     digest(session) k digest(key)      the key's row
         digest(session) n number           when the key was used, and its digest: numbers rise by one
claims   digest(tenant) digest(key)         a claim
         digest(session)                    when the session of a claim was created
"""

import struct
import time
from typing import TYPE_CHECKING, TypeAlias

from app.store.base import AlreadyCreated, KeyUsed, Save
from app.store.keys import TRIMMED, Claim, KeyMemory
from app.store.lmdb_rows import digest, number

if TYPE_CHECKING:
    import lmdb

    Transaction: TypeAlias = lmdb.Transaction[memoryview]
    Table: TypeAlias = lmdb._Database

TIME = struct.Struct(">d")


def _row_key(session: bytes, key: str) -> bytes:
    return session + b"k" + bytes.fromhex(key)


def row_of(transaction: "Transaction", keys: "Table", session: bytes, key: str) -> bytes | None:
    """Return the row of a key that is known by its digest."""
    row = transaction.get(_row_key(session, key), db=keys)
    return None if row is None else bytes(row)


def check(transaction: "Transaction", keys: "Table", claims: "Table", save: Save) -> None:
    """Raise `KeyUsed` and `AlreadyCreated` where the save may not be done."""
    session_id = save.head.session_id
    session = digest(session_id)
    for used in save.used:
        if save.previous is not None and transaction.get(_row_key(session, used.digest), db=keys) is not None:
            raise KeyUsed(f"session {session_id}: the key was used before")
    if save.claimed and transaction.get(session, db=claims) is not None:
        raise AlreadyCreated(f"session {session_id} was created before")


def remember(transaction: "Transaction", keys: "Table", claims: "Table", save: Save, memory: KeyMemory) -> None:
    """Write down what keys a save used, and that it created the session of a claim; forget old keys."""
    session, now = digest(save.head.session_id), time.time()
    if save.claimed:
        transaction.put(session, repr(now).encode(), db=claims)
    if not save.used:
        return
    last = _last_number(transaction, keys, session)
    for used in save.used:
        last += 1
        transaction.put(_row_key(session, used.digest), used.row, db=keys)
        transaction.put(session + b"n" + number(last), TIME.pack(now) + bytes.fromhex(used.digest), db=keys)
    if last > min(memory.count, memory.most):
        _trim(transaction, keys, session, last, memory)


def _last_number(transaction: "Transaction", keys: "Table", session: bytes) -> int:
    with transaction.cursor(keys) as cursor:
        found = cursor.prev() if cursor.set_range(session + b"o") else cursor.last()
        key = bytes(cursor.key()) if found else b""
    return int.from_bytes(key[17:], "big") if key.startswith(session + b"n") else 0


def _trim(transaction: "Transaction", keys: "Table", session: bytes, last: int, memory: KeyMemory) -> None:
    with transaction.cursor(keys) as cursor:
        for _ in range(TRIMMED):
            cursor.set_range(session + b"n")
            oldest, value = bytes(cursor.key()), bytes(cursor.value())
            (used_at,) = TIME.unpack(value[: TIME.size])
            if not memory.may_forget(last - int.from_bytes(oldest[17:], "big"), used_at):
                return
            transaction.delete(oldest, db=keys)
            transaction.delete(_row_key(session, value[TIME.size :].hex()), db=keys)


def claim_key(claim: Claim) -> bytes:
    """Return where a claim stands."""
    return digest(claim.tenant) + bytes.fromhex(claim.key)


def is_creation(key: bytes) -> bool:
    """Tell whether a row of `claims` says when a session was created."""
    return len(key) == 16
