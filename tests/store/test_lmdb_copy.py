"""Copies of an LMDB folder: of one moment, whole, for their owner alone, and never over what is there."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from app.errors import StateDamaged, StoreUnavailable
from app.settings import Settings
from app.store import lmdb_format, open_store
from app.store.base import IncompatibleStore, Store
from app.store.formats import STORE_FORMAT
from app.store.lmdb_copy import backup, restore
from tests.store.changes import row, saved, state_of
from tests.store.ledgers import ledger_saved
from tests.store.places import LmdbPlace, place_at

MAP = 1 << 40
MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy"


def opened(folder: Path) -> Store:
    return open_store(Settings(store=f"lmdb:{folder}"))


@pytest.fixture
async def left(folder: Path) -> None:
    """Return a store with two sessions that nobody has open."""
    async with opened(folder) as store:
        await saved(store, session_id="first")
        await saved(store, session_id="second")


async def optim(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run the command like an operator, in a process of its own."""
    command = [sys.executable, "-m", "app.cli", "store", *map(str, arguments)]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in (folder, *folder.iterdir())}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


async def test_a_copy_of_a_live_store_is_of_one_moment(folder: Path, copy: Path) -> None:
    async with opened(folder) as store:
        heads = [await saved(store, None, [os.urandom(MIB), b"x"], session_id=f"{i}", row=row(1)) for i in range(5)]
        await store.delete("4")
        saving = asyncio.create_task(_go_on(store))
        told = await optim("backup", copy, "--store", f"lmdb:{folder}")
        saving.cancel()
        await asyncio.wait([saving])
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(f"backed up {folder} to {copy}: ")
    assert told.stdout.endswith(" bytes, all read and checked against their checksums\n")
    assert modes(copy) == {"copy": 0o700, "data.mdb": 0o600}
    async with opened(copy) as again:
        assert [await again.load(f"{i}") for i in range(5)] == [*heads[:4], None]
        assert [len(await state_of(again, head)) for head in heads[:4]] == [MIB + 1] * 4
        assert await again.history("0", 0, 10) == [b"row 1"]
        moment = [await again.load(f"going on {i}") for i in range(3)]
        versions = [head.version if head else 0 for head in moment]
        assert sorted(versions, reverse=True) == versions
        assert versions[0] - versions[2] <= 1


async def _go_on(store: Store) -> None:
    """Save one session after the other, so that at any moment their versions differ by one at most."""
    heads = [await saved(store, session_id=f"going on {i}") for i in range(3)]
    while True:
        heads = [await saved(store, head, [os.urandom(1000)]) for head in heads]


async def test_a_copy_is_restored_to_an_empty_folder(folder: Path, copy: Path) -> None:
    async with opened(folder) as store:
        head = await saved(store, None, [os.urandom(MIB)], row=row(1))
    assert backup(folder, copy, MAP).sessions == 1
    await asyncio.to_thread(shutil.rmtree, folder)
    told = await optim("restore", copy, "--store", f"lmdb:{folder}")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(f"restored {copy} to {folder}: 1 sessions, ")
    assert modes(folder) == {"store": 0o700, "data.mdb": 0o600}
    async with opened(folder) as store:
        assert await store.load("session-1") == head
        assert len(await state_of(store, head)) == MIB
        assert await saved(store, head)


@pytest.mark.usefixtures("left")
def test_a_copy_is_no_larger_than_its_content(folder: Path, copy: Path) -> None:
    with lmdb.open(str(folder), map_size=MAP, max_dbs=9) as environment, environment.begin(write=True) as txn:
        txn.put(b"much", bytes(20 * MIB))
    with lmdb.open(str(folder), map_size=MAP, max_dbs=9) as environment, environment.begin(write=True) as txn:
        txn.delete(b"much")
    assert (folder / "data.mdb").stat().st_size > 20 * MIB
    assert backup(folder, copy, MAP).size < MIB


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("name", ["data.mdb", "anything"])
def test_nothing_is_overwritten(folder: Path, copy: Path, name: str) -> None:
    copy.mkdir()
    (copy / name).write_text("dear")
    for call in (backup, restore):
        with pytest.raises(StoreUnavailable, match=f"is not empty, and nothing is overwritten: it has {name};"):
            call(folder, copy, MAP)
        assert contents(copy) == {name: b"dear"}


@pytest.mark.usefixtures("left")
def test_leftovers_of_an_interrupted_copy_are_no_obstacle(folder: Path, copy: Path) -> None:
    copy.mkdir()
    (copy / "data.mdb.part").write_text("half")
    (copy / "lock.mdb").write_text("of a store that was moved away")
    assert backup(folder, copy, MAP).sessions == 2
    assert set(contents(copy)) == {"data.mdb"}


@pytest.mark.parametrize("call", [backup, restore])
def test_a_folder_without_a_store_cannot_be_copied(folder: Path, copy: Path, call: object) -> None:
    folder.mkdir()
    with pytest.raises(StoreUnavailable, match=r"no store in .*: data\.mdb is missing"):
        call(folder, copy, MAP)  # type: ignore[operator]
    assert not copy.exists()
    assert contents(folder) == {}


@pytest.mark.usefixtures("left")
async def test_a_running_services_folder_is_neither_source_nor_target(folder: Path, copy: Path) -> None:
    backup(folder, copy, MAP)
    async with opened(folder) as store:
        told = await optim("restore", copy, "--store", f"lmdb:{folder}")
        assert told.stderr == f"optim: a service has {folder} open: stop it first\n"
        (folder / "data.mdb").rename(folder / "away")
        told = await optim("restore", copy, "--store", f"lmdb:{folder}")
        assert told.stderr == f"optim: a service has {folder} open: stop it first\n"
        (folder / "away").rename(folder / "data.mdb")
        told = await optim("restore", folder, "--store", f"lmdb:{copy.with_name('new')}")
        assert (told.returncode, told.stdout) == (4, "")
        assert "open: stop it, or make a backup of it and restore that" in told.stderr
        assert not copy.with_name("new").exists()
        assert await saved(store)


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("call", [backup, restore])
def test_a_file_that_was_cut_is_no_backup(folder: Path, copy: Path, call: object) -> None:
    data = (folder / "data.mdb").read_bytes()
    (folder / "data.mdb").write_bytes(data[: len(data) // 2])
    with pytest.raises(StateDamaged):
        call(folder, copy, MAP)  # type: ignore[operator]
    assert not copy.exists()


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("call", [backup, restore])
def test_a_newer_store_is_not_copied(folder: Path, copy: Path, call: object) -> None:
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as txn:
        txn.put(lmdb_format.MARK, b"%d" % (STORE_FORMAT + 1))
    with pytest.raises(IncompatibleStore, match="run the newer version"):
        call(folder, copy, MAP)  # type: ignore[operator]
    assert not copy.exists()


@pytest.mark.usefixtures("left")
def test_an_older_store_is_copied_as_it_is(folder: Path, copy: Path) -> None:
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as txn:
        txn.put(lmdb_format.MARK, b"1")
    backup(folder, copy, MAP)
    for place in (folder, copy):
        with lmdb.open(str(place)) as environment, environment.begin() as txn:
            assert txn.get(lmdb_format.MARK) == b"1"


async def test_damaged_sessions_are_copied_and_told(folder: Path, copy: Path) -> None:
    place = place_at(f"lmdb:{folder}")
    assert isinstance(place, LmdbPlace)
    async with place.store as store:
        for name in ("whole", "damaged piece", "damaged head"):
            head = await saved(store, session_id=name)
        await place.put_piece("damaged piece", (await store.load("damaged piece")).pieces[0].name, b"???")  # type: ignore[union-attr]
        await place.put_head("damaged head", (await place.head("damaged head"))[:-1])
        assert head
        for name in ("whole", "damaged ledger", "lost contribution"):
            await saved(store, await store.load(name), session_id=name)
            ledger = await ledger_saved(store, None, [b"waits"], session_id=name)
        await place.put_piece(ledger.session_id, ledger.pieces[0].name, None)
        await place.put_ledger("damaged ledger", b"garbage")
    told = await optim("backup", copy, "--store", f"lmdb:{folder}")
    assert told.stdout.startswith(f"backed up {folder} to {copy}: 5 sessions")
    assert [line.partition(" is damaged")[0] for line in told.stderr.splitlines()] == [
        "session damaged head", "session damaged ledger", "session damaged piece", "session lost contribution"
    ]  # fmt: skip


@pytest.mark.parametrize("url", ["memory:", "redis://127.0.0.1:1/0"])
async def test_a_copy_of_another_store_is_refused(url: str, copy: Path) -> None:
    told = await optim("backup", copy, "--store", url)
    assert (told.returncode, told.stdout) == (1, "")
    assert "for Redis see docs/stores.md" in told.stderr


@pytest.mark.usefixtures("left")
def test_a_copy_that_cannot_be_written_leaves_nothing(
    folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for call in (backup, restore):
        with pytest.raises(OSError, match="No space left"):
            call(folder, copy, MAP)
        assert not copy.exists()
