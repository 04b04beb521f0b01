"""The guard of an LMDB folder, against every removal and replacement of its files."""

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store
from app.store.base import Store
from app.store.lmdb import LmdbStore
from app.store.lmdb_guard import Guard
from tests.reaper import tied
from tests.store.changes import saved, state_of
from tests.store.places import LmdbPlace, place_at

OPEN_AND_SAVE = """
import asyncio, sys
from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store
from tests.store.changes import saved

async def main():
    try:
        async with open_store(Settings(store="lmdb:" + sys.argv[1])) as store:
            await saved(store, session_id=sys.argv[2])
            print("saved", flush=True)
            sys.stdin.read()
    except StoreUnavailable as refusal:
        print(refusal.detail, flush=True)

asyncio.run(main())
"""


def another(folder: Path, session_id: str = "another") -> "subprocess.Popen[str]":
    """Start a process that opens the store, saves, and keeps it open until its standard input ends."""
    command = [sys.executable, "-c", OPEN_AND_SAVE, str(folder), session_id]
    return tied(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said_by(process: "subprocess.Popen[str]") -> str:
    """Return the first output of a process, then end it."""
    assert process.stdout
    said = process.stdout.readline().strip()
    process.communicate()
    return said


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[Store]:
    place = place_at(f"lmdb:{folder}")
    assert isinstance(place, LmdbPlace)
    async with place.store as store:
        yield store


def removed(file: Path) -> None:
    file.unlink()


def replaced_by_an_empty_file(file: Path) -> None:
    file.unlink()
    file.touch()


def replaced_by_a_copy(file: Path) -> None:
    shutil.copy(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").rename(file)


def made_anew_by_another_program(file: Path) -> None:
    file.unlink()
    lmdb_program = f"import lmdb; lmdb.open({str(file.parent)!r}, map_size=1 << 40).close()"
    subprocess.run([sys.executable, "-c", lmdb_program], check=True)


CHANGES: list[Callable[[Path], None]] = [
    removed, replaced_by_an_empty_file, replaced_by_a_copy, made_anew_by_another_program,
]  # fmt: skip


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_replaced_file_ends_all_writing(
    store: Store, folder: Path, name: str, change: Callable[[Path], None]
) -> None:
    head = await saved(store)
    change(folder / name)
    for call in (store.ping, lambda: saved(store, head), lambda: store.delete("session-1")):
        with pytest.raises(StoreUnavailable, match=rf"{name} was (removed|replaced) while the store was open: stop"):
            await call()
    assert await state_of(store, head) == b"onetwo"


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
@pytest.mark.parametrize("change", CHANGES)
async def test_nobody_opens_a_folder_that_is_open_by_other_files(
    store: Store, folder: Path, name: str, change: Callable[[Path], None]
) -> None:
    await saved(store)
    change(folder / name)
    found = contents(folder)
    said = await asyncio.to_thread(said_by, another(folder))
    assert "by a data.mdb or lock.mdb that was removed or replaced since: stop every service" in said
    assert contents(folder) == found


@pytest.mark.long
async def test_a_removed_lock_file_loses_no_acknowledged_save(folder: Path) -> None:
    async with open_store(Settings(store=f"lmdb:{folder}")) as store:
        heads = [await saved(store, session_id=f"{i}") for i in range(20)]
        (folder / "lock.mdb").unlink()
        with pytest.raises(StoreUnavailable):
            await saved(store, session_id="refused")
        assert await asyncio.to_thread(said_by, another(folder)) != "saved"
    assert await asyncio.to_thread(said_by, another(folder)) == "saved"
    async with open_store(Settings(store=f"lmdb:{folder}")) as store:
        assert [await store.load(f"{i}") for i in range(20)] == heads
        assert await store.load("another")
        assert await store.load("refused") is None


async def test_a_file_removed_during_a_write_is_not_acknowledged(store: Store, folder: Path) -> None:
    assert isinstance(store, LmdbStore)
    with pytest.raises(StoreUnavailable, match="was removed while the store was open"):
        await store.file.write(lambda _: (folder / "lock.mdb").unlink())


async def test_a_file_that_is_put_back_is_the_opened_one(store: Store, folder: Path) -> None:
    (folder / "lock.mdb").rename(folder / "away")
    with pytest.raises(StoreUnavailable):
        await saved(store)
    (folder / "away").rename(folder / "lock.mdb")
    await saved(store)


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
async def test_a_file_that_is_written_over_ends_all_writing(store: Store, folder: Path, name: str) -> None:
    """Does as `cp` from a copy of the folder: the same file with earlier content."""
    head = await saved(store)
    before = contents(folder)[name]
    for _ in range(3):
        head = await saved(store, head)
    write_over(folder / name, before)
    for call in (store.ping, lambda: saved(store, head)):
        with pytest.raises(StoreUnavailable, match="were written over while they were open: stop every service"):
            await call()


def write_over(file: Path, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.write(data)


@pytest.mark.long
async def test_any_number_of_processes_open_a_new_folder_at_once(folder: Path) -> None:
    processes = [another(folder, f"{i}") for i in range(6)]
    said = await asyncio.gather(*(asyncio.to_thread(said_by, process) for process in processes))
    assert said == ["saved"] * 6
    async with open_store(Settings(store=f"lmdb:{folder}")) as store:
        assert all([await store.load(f"{i}") for i in range(6)])


@pytest.mark.parametrize("change", [None, *CHANGES])
async def test_a_killed_process_blocks_no_start(folder: Path, change: Callable[[Path], None] | None) -> None:
    killed = another(folder, "killed")
    assert killed.stdout
    assert await asyncio.to_thread(killed.stdout.readline) == "saved\n"
    assert Guard(folder).is_held()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not Guard(folder).is_held()
    if change is not None:
        change(folder / "lock.mdb")
    async with open_store(Settings(store=f"lmdb:{folder}")) as store:
        assert await store.load("killed")
        await saved(store)


@pytest.mark.long
async def test_a_folder_that_another_opens_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = Guard(folder)
    with opening.opening():
        process = another(folder)
        await asyncio.sleep(0.5)
        assert process.poll() is None
    opening.close()
    assert await asyncio.to_thread(said_by, process) == "saved"
    monkeypatch.setattr("app.store.lmdb_guard.OPENING_SECONDS", 0.1)
    with opening.opening(), pytest.raises(StoreUnavailable, match="has been opening the store"):
        await open_store(Settings(store=f"lmdb:{folder}")).open()
    opening.close()


async def test_a_refused_start_leaves_the_way_free(store: Store, folder: Path) -> None:
    await saved(store)
    (folder / "lock.mdb").rename(folder / "away")
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="removed or replaced since"):
            await open_store(Settings(store=f"lmdb:{folder}")).open()
    (folder / "away").rename(folder / "lock.mdb")
    for again in (open_store(Settings(store=f"lmdb:{folder}")), store):
        with pytest.raises(StoreUnavailable, match="already open in this process"):
            await again.open()
    assert await asyncio.to_thread(said_by, another(folder)) == "saved"
    await saved(store, session_id="goes on")


async def test_a_store_that_is_closed_holds_nothing(folder: Path) -> None:
    for _ in range(3):
        async with open_store(Settings(store=f"lmdb:{folder}")):
            assert Guard(folder).is_held()
        assert not Guard(folder).is_held()
