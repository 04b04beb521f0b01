"""The two rows of each used key in an LMDB file."""

from app.store.keys import KeyMemory, key_digest
from app.store.lmdb_rows import ascending, digest, number
from tests.store.changes import saved, used
from tests.store.places import LmdbPlace


async def test_numbers_rise_and_both_rows_of_old_keys_go(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    store.key_memory = KeyMemory(count=2, seconds=0)
    head = None
    for key in "abcde":
        head = await saved(store, head, used=[used(key)])
    rows = await store.file.view(lambda txn: [key for key, _ in ascending(txn, store.file.tables.keys, b"")])
    session = digest("session-1")
    expected = [session + b"k" + bytes.fromhex(key_digest(key)) for key in "de"]
    assert rows == sorted(expected) + [session + b"n" + number(count) for count in (4, 5)]


async def test_neighbours_in_the_table_do_not_mix(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    names = [f"session-{i}" for i in range(20)]
    for name in names:
        head = await saved(store, session_id=name, used=[used("a")])
        await saved(store, head, used=[used("b")])
    for name in names:
        for key in "ab":
            assert await store.used(name, key_digest(key)) == f"row of {key}".encode()
        assert await store.used(name, key_digest("c")) is None
