"""Claims of ids in an LMDB file.

claims   digest(tenant) digest(key)         a claim
         digest(session)                    the time at which a claim's session was created
"""

import time
from typing import NamedTuple

from app.store.base import AlreadyCreated, Save
from app.store.keys import Claim, KeyMemory, old_session_of
from app.store.lmdb_rows import Transaction, ascending, digest
from app.store.lmdb_tables import Tables


class Row(NamedTuple):
    """One row of the table."""

    key: bytes
    value: bytes

    @property
    def is_creation(self) -> bool:
        """Return whether the row holds the time of a session's creation, and not a claim."""
        return len(self.key) == 16


def keep(transaction: Transaction, tables: Tables, claim: Claim, memory: KeyMemory) -> Claim:
    """Keep a claim, as `Store.claim` promises."""
    key = digest(claim.tenant) + bytes.fromhex(claim.key)
    held = transaction.get(key, db=tables.claims)
    if held is not None and not _is_over(transaction, tables, Row(key, bytes(held)), memory):
        return Claim.decode(claim.tenant, claim.key, bytes(held))
    transaction.put(key, claim.encode(), db=tables.claims)
    return claim


def check_created(transaction: Transaction, tables: Tables, save: Save) -> None:
    """Raise `AlreadyCreated` if the session of a claim was created before."""
    session_id = save.head.session_id
    if save.claimed and transaction.get(digest(session_id), db=tables.claims) is not None:
        raise AlreadyCreated(f"session {session_id} was created before")


def remember_created(transaction: Transaction, tables: Tables, save: Save) -> None:
    """Write that the save created the session of a claim, if it did."""
    if save.claimed:
        transaction.put(digest(save.head.session_id), repr(time.time()).encode(), db=tables.claims)


def old_rows(transaction: Transaction, tables: Tables, memory: KeyMemory) -> list[Row]:
    """Return the rows that a sweep may remove."""
    rows = (Row(key, bytes(value)) for key, value in ascending(transaction, tables.claims, b""))
    return [row for row in rows if _is_over(transaction, tables, row, memory)]


def forget(transaction: Transaction, tables: Tables, row: Row, memory: KeyMemory) -> int:
    """Remove a row if it is still the same and may still go; return how many were removed."""
    held = bytes(transaction.get(row.key, b"", db=tables.claims))
    if held != row.value or not _is_over(transaction, tables, row, memory):
        return 0
    return int(transaction.delete(row.key, db=tables.claims))


def _is_over(transaction: Transaction, tables: Tables, row: Row, memory: KeyMemory) -> bool:
    """Return whether a row may go: it is old and, for a claim, its session does not exist any more."""
    if row.is_creation:
        return memory.is_old(float(row.value))
    session_id = old_session_of(row.value, memory)
    return session_id is not None and tables.is_dead(transaction, session_id)
