"""The tables of sessions in an LMDB file."""

from app.store.keys import Claim, key_digest
from app.store.lmdb_rows import Transaction, ascending, digest
from app.store.lmdb_tables import Tables
from tests.store.changes import mark, row, saved, used
from tests.store.ledgers import ledger_saved
from tests.store.places import LmdbPlace


def _counts(transaction: Transaction, tables: Tables) -> dict[str, int]:
    """Return the number of rows in each table."""
    names = Tables.__dataclass_fields__
    return {name: sum(1 for _ in ascending(transaction, getattr(tables, name), b"")) for name in names}


async def test_a_delete_leaves_claims_alone(lmdb_place: LmdbPlace) -> None:
    store, tables = lmdb_place.store, lmdb_place.store.file.tables
    await store.claim(Claim("tenant-1", key_digest("a"), "session-1", "request", 0.0))
    await saved(store, row=row(1), used=[used("a")], claimed=True, mark=mark("mark"))
    await ledger_saved(store, due_at=1.0)
    await store.keep_outline("session-1", b"outline")
    await store.file.write(lambda txn: txn.put(digest("session-1"), b"", db=tables.thinned))
    full = await store.file.view(lambda txn: _counts(txn, tables))
    rows = {"heads": 1, "index": 1, "pieces": 2, "rows": 2, "staging": 0, "keys": 2, "claims": 2}
    assert full == rows | {"ledgers": 1, "due": 1, "marks": 1, "thinned": 1, "outlines": 1}
    await store.delete("session-1")
    empty = await store.file.view(lambda txn: _counts(txn, tables))
    assert empty == dict.fromkeys(full, 0) | {"claims": 2}


async def test_a_purge_keeps_the_pieces_it_is_told(lmdb_place: LmdbPlace) -> None:
    store, tables = lmdb_place.store, lmdb_place.store.file.tables
    head = await saved(store, None, [b"kept", b"gone"])
    kept = head.pieces[0].name
    await store.file.write(lambda txn: tables.purge(txn, "session-1", kept=[kept]))
    assert await lmdb_place.pieces("session-1") == {kept: b"kept"}


async def test_a_names_length_is_no_limit(lmdb_place: LmdbPlace) -> None:
    head = await saved(lmdb_place.store, tenant="t" * 5000)
    assert await lmdb_place.store.list("t" * 5000, 1) == [head]
