"""The sweep of an LMDB file: a look at all that may go, then one short transaction for each find."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from app.store import lmdb_claims, lmdb_staging
from app.store.keys import KeyMemory
from app.store.lmdb_rows import Transaction, ascending
from app.store.lmdb_tables import Tables

Removal: TypeAlias = Callable[[Transaction], int]
"""A job that removes one thing if it still may go, and returns how many things went."""


def removals(transaction: Transaction, tables: Tables, memory: KeyMemory) -> list[Removal]:
    """Return a job for each dead session, abandoned save and old claim."""
    return [
        *(partial(_bury, tables=tables, row=row) for row in _dead_rows(transaction, tables)),
        *(partial(lmdb_staging.unstage, tables=tables, key=key) for key in lmdb_staging.abandoned(transaction, tables)),
        *(
            partial(lmdb_claims.forget, tables=tables, row=row, memory=memory)
            for row in lmdb_claims.old_rows(transaction, tables, memory)
        ),
    ]


def _dead_rows(transaction: Transaction, tables: Tables) -> list[bytes]:
    """Return the rows of the index whose session does not exist any more or has expired."""
    rows = (row for row, _ in ascending(transaction, tables.index, b""))
    return [row for row in rows if tables.is_dead(transaction, row[16:].decode())]


def _bury(transaction: Transaction, tables: Tables, row: bytes) -> int:
    """Delete the session that a row of the index names, if it is still dead; return how many were deleted."""
    session_id = row[16:].decode()
    if not tables.is_dead(transaction, session_id):
        return 0
    tables.purge(transaction, session_id)
    transaction.delete(row, db=tables.index)
    return 1
