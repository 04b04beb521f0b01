"""The transactions of one save in an LMDB file.

A small save is one transaction. A large one stages its pieces first, some in each transaction: they are in the table of
pieces, but no head names them, and a row of `staging` lists them for the sweep. The last transaction commits.
"""

import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from app.errors import StoreUnavailable
from app.store import lmdb_claims, lmdb_history, lmdb_keys
from app.store.base import Save
from app.store.envelope import encode
from app.store.keys import KeyMemory
from app.store.lmdb_rows import Transaction, ascending, digest
from app.store.lmdb_tables import Tables
from app.store.piece import Part

STAGED_SECONDS = 3600.0
"""The time that a large save may take; what is older was left by a process that died."""


class Limits(NamedTuple):
    """The history and the keys that a store keeps of each session."""

    history: int
    keys: KeyMemory


def staging_key(session_id: str, token: str) -> bytes:
    return digest(session_id) + token.encode()


def stage(transaction: Transaction, tables: Tables, session_id: str, token: str, part: Part) -> None:
    """Write a piece that no head names yet, and note it for the sweep."""
    key = staging_key(session_id, token)
    note = transaction.get(key, db=tables.staging)
    begun = f"{time.time()!r}\n{session_id}".encode() if note is None else bytes(note)
    transaction.put(key, b"%s\n%s" % (begun, part[0].name.encode()), db=tables.staging)
    tables.put_pieces(transaction, session_id, [part])


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
    key = staging_key(head.session_id, head.token)
    done = save.is_done(tables.held(transaction, head.session_id))
    if not done:
        if staged and not _staged_names(transaction, tables, key).issuperset(staged):
            raise StoreUnavailable(
                f"session {head.session_id}: its save took over {STAGED_SECONDS:.0f} s; send it again"
            )
        lmdb_keys.check(transaction, tables, save)
        lmdb_claims.check_created(transaction, tables, save)
    if staged:
        transaction.delete(key, db=tables.staging)
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


def _staged_names(transaction: Transaction, tables: Tables, key: bytes) -> set[str]:
    return set(bytes(transaction.get(key, b"", db=tables.staging)).decode().split("\n")[2:])


def unstage(transaction: Transaction, tables: Tables, key: bytes) -> int:
    """Remove the staged pieces of a save that did not commit, except those that a head names; return how many."""
    note = transaction.get(key, db=tables.staging)
    if note is None:
        return 0
    _, session_id, *names = bytes(note).decode().split("\n")
    head = tables.head(transaction, session_id)
    named = {piece.name for piece in head.kept} if head else set()
    transaction.delete(key, db=tables.staging)
    return tables.delete_pieces(transaction, session_id, [name for name in names if name not in named])


def abandoned(transaction: Transaction, tables: Tables) -> list[bytes]:
    """Return the keys of `staging` whose saves began too long ago."""
    oldest = time.time() - STAGED_SECONDS
    notes = ascending(transaction, tables.staging, b"")
    return [key for key, note in notes if float(bytes(note).partition(b"\n")[0]) < oldest]
