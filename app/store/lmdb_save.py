"""The last transaction of a save in an LMDB file, and the only one of a small save.

A large save stages its pieces before (`lmdb_staging`).
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from app.store import lmdb_claims, lmdb_history, lmdb_keys, lmdb_ledgers, lmdb_marks, lmdb_staging
from app.store.base import Save
from app.store.envelope import encode
from app.store.keys import KeyMemory
from app.store.lmdb_rows import Transaction, digest
from app.store.lmdb_tables import Tables
from app.store.piece import Part


class Limits(NamedTuple):
    """The history and the keys that a store keeps of each session."""

    history: int
    keys: KeyMemory


def commit(
    transaction: Transaction,
    tables: Tables,
    save: Save,
    rest: Sequence[Part],
    staged: Collection[str],
    limits: Limits,
) -> None:
    """Compare, then write the new head and all that goes with it.

    `rest` are the parts that were not staged, `staged` the names of those that were.
    """
    head = save.head
    done = save.is_done(tables.held(transaction, head.session_id))
    if not done:
        if save.ledger:
            save.ledger.expect(lmdb_ledgers.held(transaction, tables, head.session_id))
        lmdb_staging.expect_staged(transaction, tables, head.session_id, head.token, staged)
        lmdb_keys.check(transaction, tables, save)
        lmdb_claims.check_created(transaction, tables, save)
    if staged:
        transaction.delete(lmdb_staging.staging_key(head.session_id, head.token), db=tables.staging)
    if not done:
        if save.previous is None:
            tables.purge(transaction, head.session_id, kept=staged)
        _write(transaction, tables, save, rest, limits)


def _write(transaction: Transaction, tables: Tables, save: Save, rest: Sequence[Part], limits: Limits) -> None:
    head = save.head
    tables.put_pieces(transaction, head.session_id, rest)
    tables.delete_pieces(transaction, head.session_id, [piece.name for piece in save.obsolete])
    transaction.put(digest(head.session_id), encode(head), db=tables.heads)
    if save.previous is None:
        transaction.put(digest(head.tenant) + head.session_id.encode(), b"", db=tables.index)
    lmdb_claims.remember_created(transaction, tables, save)
    lmdb_keys.remember(transaction, tables, save, limits.keys)
    lmdb_history.record(transaction, tables, save, limits.history)
    lmdb_marks.record(transaction, tables, save)
    if save.ledger:
        lmdb_ledgers.write(transaction, tables, save.ledger)
