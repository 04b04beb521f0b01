"""An open LMDB file: opening, a full disk or map, threads and other processes."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from app.errors import StoreUnavailable
from app.store.base import IncompatibleStore, Save
from app.store.lmdb import LmdbStore
from tests.store.changes import change_of, row, saved, state_of
from tests.store.lmdb_stores import another_process, kill, store_in
from tests.store.places import LmdbPlace

MIB = 1 << 20


async def test_the_folder_is_made_for_its_owner_alone(folder: Path) -> None:
    async with store_in(folder) as store:
        await saved(store)
    assert _open_to_others(folder) == {folder.name: 0, "data.mdb": 0, "lock.mdb": 0}


def _open_to_others(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())}


async def test_one_process_opens_a_folder_once(lmdb_place: LmdbPlace, folder: Path) -> None:
    with pytest.raises(StoreUnavailable, match="already open in this process"):
        await store_in(folder).open()
    await saved(lmdb_place.store)


async def test_a_store_that_is_not_open_says_so(folder: Path) -> None:
    store = store_in(folder)
    for call in (store.ping, store.sweep, lambda: store.load("x"), lambda: saved(store)):
        with pytest.raises(StoreUnavailable, match="is not open"):
            await call()


async def test_a_thread_that_is_late_for_the_writer_is_told(lmdb_place: LmdbPlace) -> None:
    """Stands for a thread that found the file open before the event loop closed it."""
    file = lmdb_place.store.file
    late = file._environment
    await file.close()
    file._environment = late
    with pytest.raises(StoreUnavailable, match="is not open"):
        file.submit(lambda _: None)
    file._environment = None


async def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot open the store in"):
        await store_in(tmp_path / "file").open()
    with pytest.raises(StoreUnavailable, match="cannot open the store in"):
        await store_in(tmp_path / "file" / "below").open()


async def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"something else" * 1000)
    with pytest.raises(IncompatibleStore, match="is no store of this service, or is damaged"):
        await store_in(tmp_path).open()
    assert (tmp_path / "data.mdb").read_bytes() == b"something else" * 1000


@pytest.mark.parametrize(("setting", "synced"), [({}, True), ({"lmdb_sync": "relaxed"}, False)])
async def test_saves_are_synced_unless_that_is_relaxed(folder: Path, setting: dict[str, Any], synced: bool) -> None:
    async with store_in(folder, **setting) as store:
        assert isinstance(store, LmdbStore)
        assert store.file.environment.flags()["sync"] is synced


async def test_a_full_store_keeps_its_sessions_and_takes_what_fits(folder: Path) -> None:
    async with store_in(folder, lmdb_map_bytes=8 * MIB) as store:
        head = await saved(store, None, [bytes(MIB)], row=row(1))
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="is full: delete sessions or raise OPTIM_LMDB_MAP_BYTES"):
                await saved(store, head, [bytes(9 * MIB)], row=row(2))
        assert await store.load("session-1") == head
        assert await state_of(store, head) == bytes(MIB)
        assert await store.history("session-1", 0, 10) == [b"row 1"]
        head = await saved(store, head, [b"1" * MIB], row=row(2))
        assert await state_of(store, head) == b"1" * MIB
    async with store_in(folder, lmdb_map_bytes=64 * MIB) as store:
        await saved(store, head, [bytes(9 * MIB)])


@pytest.mark.long
async def test_a_full_disk_is_an_error_and_tears_nothing(folder: Path) -> None:
    """Stands for a full disk: a limit on the file's size, which LMDB meets in the same call."""
    script = f"""
import asyncio, resource
from tests.store.test_lmdb_file import *

async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
    async with store_in({str(folder)!r}) as store:
        head = await saved(store, None, [b"1" * MIB], row=row(1))
        with pytest.raises(StoreUnavailable, match="is its disk full"):
            await saved(store, head, [b"2" * (8 * MIB)], row=row(2))
        assert await state_of(store, head) == b"1" * MIB
        await saved(store, head, [b"3" * MIB], row=row(2))

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=Path(__file__).parents[2])
    assert await process.wait() == 0
    async with store_in(folder) as store:
        head = await store.load("session-1")
        assert head
        assert await state_of(store, head) == b"3" * MIB
        assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2"]


async def test_saves_at_once_share_a_sync(lmdb_place: LmdbPlace) -> None:
    before = lmdb_place.store.file.environment.info()["last_txnid"]
    await asyncio.gather(*(saved(lmdb_place.store, session_id=f"{i}") for i in range(100)))
    assert lmdb_place.store.file.environment.info()["last_txnid"] - before < 50


async def test_readers_do_not_wait_for_another_writer(lmdb_place: LmdbPlace, folder: Path) -> None:
    store = lmdb_place.store
    head = await saved(store)
    other = another_process(folder, "txn = store.begin(write=True)\nprint('ready', flush=True)\ntime.sleep(30)")
    buffer = bytearray(b"written")
    change = change_of(head, [bytes(buffer)])
    saving = asyncio.create_task(store.save(Save(change.head, head, memoryview(buffer))))
    for _ in range(20):
        assert await store.load("session-1") == head
        await asyncio.sleep(0.01)
    assert not saving.done()  # it waits for the other process, and the loop did not
    saving.cancel()
    await asyncio.sleep(0.01)
    assert not saving.done()  # the thread still reads the buffer
    kill(other)
    await asyncio.wait([saving])
    assert saving.cancelled()
    buffer[:] = b"changed"
    assert await state_of(store, change.head) == b"written"


@pytest.mark.parametrize(("sync", "words"), [("full", "survives a power cut"), ("relaxed", "but no power cut")])
async def test_the_durability_is_that_of_the_sync(folder: Path, sync: Any, words: str) -> None:
    async with store_in(folder, lmdb_sync=sync) as store:
        assert words in await store.durability()
