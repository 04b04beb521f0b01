"""The room that sessions take in an LMDB file."""

import os

from tests.store.changes import saved
from tests.store.places import LmdbPlace

MIB = 1 << 20


async def test_bytes_of_deleted_sessions_are_free_again(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    empty = await store.usage()
    head = await saved(store, None, [bytes(MIB), bytes(MIB)])
    assert head.state_bytes == 2 * MIB
    assert 2 * MIB <= ((await store.usage()).nbytes or 0) < 3 * MIB
    await store.delete(head.session_id)
    assert (await store.usage()).nbytes == empty.nbytes
    assert os.stat(store.file.folder / "data.mdb").st_size > 2 * MIB


async def test_the_limit_and_the_disk_are_told(lmdb_place: LmdbPlace) -> None:
    usage = await lmdb_place.store.usage()
    assert usage.limit == lmdb_place.store.file.map_bytes
    assert (usage.free or 0) > MIB
