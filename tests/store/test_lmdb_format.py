"""The mark of an LMDB file."""

from pathlib import Path

import lmdb
import pytest

from app.store import lmdb_format
from app.store.base import IncompatibleStore
from app.store.formats import STORE_FORMAT
from tests.store.lmdb_stores import store_in


async def test_a_store_of_a_newer_version_is_refused(folder: Path) -> None:
    async with store_in(folder):
        pass
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as txn:
        txn.put(lmdb_format.MARK, b"%d" % (STORE_FORMAT + 1))
    with pytest.raises(IncompatibleStore, match=f"has format {STORE_FORMAT + 1}, of a newer version"):
        await store_in(folder).open()


async def test_another_programs_database_is_refused_untouched(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    with pytest.raises(IncompatibleStore, match="is not a store of this service"):
        await store_in(tmp_path).open()
    with lmdb.open(str(tmp_path)) as environment, environment.begin() as txn:
        assert dict(txn.cursor()) == {b"theirs": b"1"}
