"""The length of an LMDB file: a truncated file is refused before it kills the process, and no other."""

import asyncio
import os
from pathlib import Path

import lmdb
import pytest

from app.errors import StateDamaged
from app.store.base import Head
from tests.store.changes import change_of, saved, state_of
from tests.store.lmdb_stores import store_in

MIB = 1 << 20


async def grown(folder: Path) -> Head:
    """Make a store whose last save is most of it; return its head."""
    async with store_in(folder) as store:
        return await saved(store, await saved(store), [os.urandom(MIB)])


def length_of(folder: Path) -> int:
    return (folder / "data.mdb").stat().st_size


def length_of_pages(folder: Path) -> int:
    with lmdb.open(str(folder)) as environment:
        return int((environment.info()["last_pgno"] + 1) * environment.stat()["psize"])


@pytest.mark.parametrize("left", [0.01, 0.1, 0.5, 0.9, 0.99])
async def test_a_truncated_file_is_refused_untouched(folder: Path, left: float) -> None:
    await grown(folder)
    os.truncate(folder / "data.mdb", int(length_of(folder) * left))
    found = (folder / "data.mdb").read_bytes()
    for _ in range(2):
        with pytest.raises(StateDamaged, match="restore it from a backup"):
            await store_in(folder).open()
    assert (folder / "data.mdb").read_bytes() == found


async def test_a_file_whose_last_pages_were_never_written_is_whole(folder: Path) -> None:
    async with store_in(folder) as store:
        head = await saved(store, session_id="stays")
        for i in range(20):
            change = change_of(None, [os.urandom(MIB)], session_id=f"goes-{i}")
            other = change_of(None, [b"small"], session_id=f"stays-{i}")
            await asyncio.gather(store.save(other), store.save(change), store.delete(f"goes-{i}"))
    assert length_of(folder) < length_of_pages(folder)
    for _ in range(2):
        async with store_in(folder) as store:
            assert await state_of(store, head) == b"onetwo"
            head = await saved(store, head)


async def test_a_compact_copy_is_whole(folder: Path, tmp_path: Path) -> None:
    head = await grown(folder)
    async with store_in(folder) as store:
        await store.delete("session-1")
        head = await saved(store, session_id="left")
    (tmp_path / "copy").mkdir()
    with lmdb.open(str(folder)) as environment:
        environment.copy(str(tmp_path / "copy"), compact=True)
    assert length_of(tmp_path / "copy") < length_of(folder)
    async with store_in(tmp_path / "copy") as store:
        assert await state_of(store, head) == b"onetwo"


@pytest.mark.parametrize("sync", ["full", "relaxed"])
@pytest.mark.parametrize("left", [0.1, 0.5, 0.99])
async def test_a_truncated_store_is_refused_however_it_syncs(folder: Path, left: float, sync: str) -> None:
    async with store_in(folder, lmdb_sync=sync) as store:
        await saved(store, None, [bytes(MIB)])
    data = (folder / "data.mdb").read_bytes()
    (folder / "data.mdb").write_bytes(data[: int(len(data) * left)])
    with pytest.raises(StateDamaged, match="restore it from a backup"):
        await store_in(folder).open()
