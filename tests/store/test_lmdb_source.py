"""An LMDB folder that a backup reads: as of one moment, and left as it is."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from app.errors import StateDamaged
from app.store import lmdb_format
from app.store.base import IncompatibleStore, Store
from app.store.formats import STORE_FORMAT
from app.store.lmdb_source import LmdbSource
from app.store.snapshot import About, Member
from tests.backup.filled import opened, restored
from tests.store.changes import saved
from tests.store.places import LmdbPlace, place_at

MAP = 1 << 40


async def heads(source: LmdbSource) -> dict[str, bytes]:
    """Return the heads of all sessions."""
    return {about.session_id: await head(source, about) async for about in source.sessions()}


async def head(source: LmdbSource, about: About) -> bytes:
    return bytes([member async for member in source.members(about)][1].data)


async def left(folder: Path) -> None:
    """Leave a store with two sessions that nobody has open."""
    async with opened(f"lmdb:{folder}") as store:
        await saved(store, session_id="first")
        await saved(store, session_id="second")


@pytest.mark.long
async def test_all_sessions_are_of_one_moment(folder: Path, tmp_path: Path) -> None:
    async with opened(f"lmdb:{folder}") as store:
        saving = asyncio.create_task(_go_on(store))
        command = [sys.executable, "-m", "app.cli", "backup", str(tmp_path / "copy"), "--store", f"lmdb:{folder}"]
        await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
        saving.cancel()
        await asyncio.wait([saving])
    await restored(tmp_path / "copy", f"lmdb:{tmp_path / 'back'}")
    async with opened(f"lmdb:{tmp_path / 'back'}") as store:
        found = [await store.load(f"going on {i}") for i in range(3)]
        versions = [head.version if head else 0 for head in found]
    assert sorted(versions, reverse=True) == versions
    assert versions[0] - versions[2] <= 1
    assert versions[2] > 1


async def _go_on(store: Store) -> None:
    """Save one session after the other, so that at any moment their versions differ by one at most."""
    heads = [await saved(store, session_id=f"going on {i}") for i in range(3)]
    while True:
        heads = [await saved(store, head, [os.urandom(1000)]) for head in heads]


async def test_an_older_store_is_read_as_it_is(folder: Path) -> None:
    await left(folder)
    with lmdb.open(str(folder), max_dbs=16) as environment, environment.begin(write=True) as txn:
        txn.put(lmdb_format.MARK, b"1")
        for name in (b"ledgers", b"due", b"claims", b"keys", b"marks", b"thinned"):
            txn.drop(environment.open_db(name, txn))
    async with LmdbSource(folder, MAP) as source:
        assert source.format == 1
        assert (await heads(source)).keys() == {"first", "second"}
        assert [member async for member in source.claims()] == []
    with lmdb.open(str(folder)) as environment, environment.begin() as txn:
        assert txn.get(lmdb_format.MARK) == b"1"
        assert txn.get(b"ledgers") is None


async def test_a_newer_store_is_refused(folder: Path) -> None:
    await left(folder)
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as txn:
        txn.put(lmdb_format.MARK, b"%d" % (STORE_FORMAT + 1))
    with pytest.raises(IncompatibleStore, match="run the newer version"):
        await LmdbSource(folder, MAP).__aenter__()


async def test_a_file_that_was_cut_is_refused(folder: Path) -> None:
    await left(folder)
    data = (folder / "data.mdb").read_bytes()
    (folder / "data.mdb").write_bytes(data[: len(data) // 2])
    with pytest.raises(StateDamaged):
        await LmdbSource(folder, MAP).__aenter__()


async def test_a_folder_without_a_store_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no store in .*: data\.mdb is missing"):
        await LmdbSource(tmp_path, MAP).__aenter__()
    assert os.listdir(tmp_path) == []


async def test_a_damaged_head_still_has_its_tenant(folder: Path) -> None:
    place = place_at(f"lmdb:{folder}")
    assert isinstance(place, LmdbPlace)
    async with place.store as store:
        await saved(store, session_id="damaged")
        await saved(store, session_id="whole")
        await place.put_head("damaged", b"garbage")
    async with LmdbSource(folder, MAP) as source:
        about = await anext(source.sessions())
        assert about == About.of("damaged", "tenant-1")
        assert [member async for member in source.members(about)][1:2] == [Member("head", b"garbage")]
