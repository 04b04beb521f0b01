"""What only an LMDB file can do to a store: be full, be another's, be cut short, be locked by another process."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from app.errors import StateDamaged, StoreUnavailable
from app.settings import Settings
from app.store import lmdb_file, lmdb_format, lmdb_save, open_store
from app.store.base import IncompatibleStore, Save, Store, VersionConflict
from app.store.formats import STORE_FORMAT
from app.store.keys import KeyMemory
from app.store.lmdb import LmdbStore
from tests.reaper import tied
from tests.store.changes import change_of, row, saved, state_of
from tests.store.places import LmdbPlace, place_at

MIB = 1 << 20
LIMITS = lmdb_save.Limits(history=10, keys=KeyMemory())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "store"


def store_in(folder: Path, **settings: Any) -> Store:
    return open_store(Settings(store=f"lmdb:{folder}", **settings))


@pytest.fixture
async def place(folder: Path) -> AsyncIterator[LmdbPlace]:
    place = place_at(f"lmdb:{folder}")
    assert isinstance(place, LmdbPlace)
    async with place.store:
        yield place


@pytest.fixture
def small_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_file, "TRANSACTION_BYTES", 4)


def _another_process(folder: Path, code: str) -> subprocess.Popen[bytes]:
    """One that has the same file open, and has run `code` when this returns."""
    script = f"import lmdb, sys, time\nstore = lmdb.open({str(folder)!r}, map_size=1 << 40, max_dbs=9)\n{code}"
    process = tied([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _open_to_others(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())}


# Opening


async def test_the_folder_is_made_for_its_owner_alone(folder: Path) -> None:
    async with store_in(folder) as store:
        await saved(store)
    assert _open_to_others(folder) == {folder.name: 0, "data.mdb": 0, "lock.mdb": 0}


async def test_the_path_may_begin_in_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with open_store(Settings(store="lmdb:~/sessions")):
        assert (tmp_path / "sessions" / "data.mdb").exists()


async def test_one_process_opens_a_folder_once(place: LmdbPlace, folder: Path) -> None:
    with pytest.raises(StoreUnavailable, match="already open in this process"):
        await store_in(folder).open()
    await saved(place.store)


async def test_a_store_that_is_not_open_says_so(folder: Path) -> None:
    store = store_in(folder)
    for call in (store.ping, store.sweep, lambda: store.load("x"), lambda: saved(store)):
        with pytest.raises(StoreUnavailable, match="is not open"):
            await call()


async def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot open the store in"):
        await store_in(tmp_path / "file").open()
    with pytest.raises(StoreUnavailable, match="cannot open the store in"):
        await store_in(tmp_path / "file" / "below").open()


async def test_a_store_of_a_newer_version_is_refused(folder: Path) -> None:
    async with store_in(folder):
        pass
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as txn:
        txn.put(lmdb_format.MARK, b"%d" % (STORE_FORMAT + 1))
    with pytest.raises(IncompatibleStore, match=f"has format {STORE_FORMAT + 1}, of a newer version"):
        await store_in(folder).open()


async def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    with pytest.raises(IncompatibleStore, match="is not a store of this service"):
        await store_in(tmp_path).open()
    with lmdb.open(str(tmp_path)) as environment, environment.begin() as txn:
        assert dict(txn.cursor()) == {b"theirs": b"1"}


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"something else" * 1000)
    with pytest.raises(IncompatibleStore, match="is no store of this service, or is damaged"):
        await store_in(tmp_path).open()
    assert (tmp_path / "data.mdb").read_bytes() == b"something else" * 1000


@pytest.mark.parametrize("sync", ["full", "relaxed"])
@pytest.mark.parametrize("left", [0.1, 0.5, 0.99])
async def test_a_file_that_was_cut_short_is_refused(folder: Path, left: float, sync: str) -> None:
    async with store_in(folder, lmdb_sync=sync) as store:
        await saved(store, None, [bytes(MIB)])
    data = (folder / "data.mdb").read_bytes()
    (folder / "data.mdb").write_bytes(data[: int(len(data) * left)])
    with pytest.raises(StateDamaged, match="restore it from a backup"):
        await store_in(folder).open()


@pytest.mark.parametrize(("setting", "synced"), [({}, True), ({"lmdb_sync": "relaxed"}, False)])
async def test_saves_are_synced_unless_that_is_relaxed(folder: Path, setting: dict[str, Any], synced: bool) -> None:
    async with store_in(folder, **setting) as store:
        assert isinstance(store, LmdbStore)
        assert store.file.environment.flags()["sync"] is synced


# Full


async def test_a_full_store_keeps_what_it_has_and_takes_what_fits(folder: Path) -> None:
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


async def test_a_save_of_many_transactions_that_does_not_fit_is_cleared_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_file, "TRANSACTION_BYTES", MIB)
    place = place_at(f"lmdb:{folder}", lmdb_map_bytes=8 * MIB)
    async with place.store as store:
        head = await saved(store, None, [b"0" * MIB])
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="is full"):
                await saved(store, head, [b"%d" % i * MIB for i in range(9)])
            await store.delete("nobody")
            assert set(await place.pieces("session-1")) == {head.pieces[0].name}


async def test_a_full_disk_is_an_error_and_tears_nothing(folder: Path) -> None:
    """The limit on a file's size stands for the disk's: both are met where LMDB writes."""
    script = f"""
import asyncio, resource
from tests.store.test_lmdb import *

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


# Saves of many transactions


async def _stage(store: LmdbStore, change: Save, pieces: int) -> None:
    head = change.head
    for part in change.fresh[:pieces]:
        await store.file.write(
            lambda txn, part=part: lmdb_save.stage(txn, store.file.tables, head.session_id, head.token, part)
        )


async def test_what_is_staged_is_seen_by_nobody_and_swept_when_it_is_old(
    place: LmdbPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.store
    head = await saved(store)
    await _stage(store, change_of(head, [b"three", b"four"]), 1)
    assert await store.load("session-1") == head
    assert await state_of(store, head) == b"onetwo"
    assert await store.sweep() == 0
    assert len(await place.pieces("session-1")) == 3
    monkeypatch.setattr(lmdb_save, "STAGED_SECONDS", 0.0)
    assert await store.sweep() == 1
    assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}


@pytest.mark.usefixtures("small_transactions")
async def test_a_save_whose_pieces_were_swept_is_refused_whole(
    place: LmdbPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.store
    head = await saved(store)
    change = change_of(head, [b"three", b"four"])
    await _stage(store, change, 1)
    monkeypatch.setattr(lmdb_save, "STAGED_SECONDS", 0.0)
    await store.sweep()
    names = [change.head.pieces[0].name]
    with pytest.raises(StoreUnavailable, match="send it again"):
        await store.file.write(
            lambda txn: lmdb_save.commit(txn, store.file.tables, change, change.fresh[1:], names, LIMITS)
        )
    assert await state_of(store, head) == b"onetwo"
    await store.save(change)
    assert await state_of(store, change.head) == b"threefour"


@pytest.mark.usefixtures("small_transactions")
async def test_a_save_of_many_transactions_that_is_refused_leaves_nothing(place: LmdbPlace) -> None:
    store = place.store
    first = await saved(store, None, [b"stays", b"old"])
    second = await saved(store, first, [b"stays", b"new"])
    with pytest.raises(VersionConflict):
        await saved(store, first, [b"%d" % i * 5 for i in range(9)])
    await store.delete("nobody")
    assert set(await place.pieces("session-1")) == {piece.name for piece in second.pieces}


@pytest.mark.usefixtures("small_transactions")
async def test_of_many_saves_of_many_transactions_one_wins_and_the_rest_leave_nothing(place: LmdbPlace) -> None:
    store = place.store
    first = await saved(store)
    changes = [change_of(first, [b"%d%d" % (i, j) * 4 for j in range(5)], row=row(1)) for i in range(20)]
    outcomes = await asyncio.gather(*(store.save(change) for change in [*changes, *changes]), return_exceptions=True)
    won = {i % 20 for i, outcome in enumerate(outcomes) if outcome is None}
    assert len(won) == 1
    head = changes[won.pop()].head
    await store.delete("nobody")
    assert await store.load("session-1") == head
    assert len(await state_of(store, head)) == head.state_bytes
    assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}
    assert await store.history("session-1", 0, 10) == [b"row 1"]


@pytest.mark.usefixtures("small_transactions")
async def test_a_session_that_is_deleted_while_it_is_staged_stays_deleted(place: LmdbPlace) -> None:
    store = place.store
    head = await saved(store)
    change = change_of(head, [b"three", b"four"])
    await _stage(store, change, 1)
    await store.delete("session-1")
    with pytest.raises(VersionConflict):
        await store.save(change)
    await store.delete("nobody")
    assert await place.pieces("session-1") == {}


# Threads and processes


async def test_saves_at_once_share_a_sync(place: LmdbPlace) -> None:
    before = place.store.file.environment.info()["last_txnid"]
    await asyncio.gather(*(saved(place.store, session_id=f"{i}") for i in range(100)))
    assert place.store.file.environment.info()["last_txnid"] - before < 50


async def test_while_another_process_writes_nobody_else_waits(place: LmdbPlace, folder: Path) -> None:
    store = place.store
    head = await saved(store)
    other = _another_process(folder, "txn = store.begin(write=True)\nprint('ready', flush=True)\ntime.sleep(30)")
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
    _kill(other)
    await asyncio.wait([saving])
    assert saving.cancelled()
    buffer[:] = b"changed"
    assert await state_of(store, change.head) == b"written"


async def test_a_reader_that_was_killed_is_forgotten_by_a_sweep(place: LmdbPlace, folder: Path) -> None:
    await saved(place.store)
    other = _another_process(folder, "txn = store.begin()\nprint('ready', flush=True)\ntime.sleep(30)")
    assert str(other.pid) in place.store.file.environment.readers()
    _kill(other)
    await place.store.sweep()
    assert str(other.pid) not in place.store.file.environment.readers()
