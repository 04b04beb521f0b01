"""An LMDB folder that a restore fills: nobody sees it before it is whole, and nothing is overwritten."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.store import lmdb_target
from app.store.base import IncompatibleStore
from app.store.lmdb_target import LmdbTarget
from app.store.snapshot import About, Member
from tests.backup.filled import MIB, backed_up, opened, restored
from tests.store.changes import saved, state_of

MAP = 1 << 40


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in (folder, *folder.iterdir())}


@pytest.mark.long
async def test_a_restored_folder_is_for_its_owner_alone(folder: Path, tmp_path: Path) -> None:
    async with opened(f"lmdb:{folder}") as store:
        head = await saved(store, None, [os.urandom(MIB)] * 40)
        state = await state_of(store, head)
    await backed_up(f"lmdb:{folder}", tmp_path / "backup")
    await restored(tmp_path / "backup", f"lmdb:{tmp_path / 'target'}")
    assert modes(tmp_path / "target") == {"target": 0o700, "data.mdb": 0o600}
    async with opened(f"lmdb:{tmp_path / 'target'}") as store:
        assert await state_of(store, head) == state


@pytest.mark.parametrize("name", ["data.mdb", "anything"])
async def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("dear")
    target = LmdbTarget(tmp_path, MAP)
    with pytest.raises(StoreUnavailable, match=f"is not empty, and nothing is overwritten: it has {name};"):
        await target.begin("backup")
    await target.close()
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "dear"


async def test_a_folder_in_use_is_refused(folder: Path) -> None:
    async with opened(f"lmdb:{folder}") as store:
        (folder / "data.mdb").rename(folder / "away")
        target = LmdbTarget(folder, MAP)
        with pytest.raises(StoreUnavailable, match=r"a service has .* open: stop it first"):
            await target.begin("backup")
        await target.close()
        (folder / "away").rename(folder / "data.mdb")
        assert await saved(store)


async def test_no_service_opens_a_half_restored_folder(tmp_path: Path) -> None:
    (tmp_path / "data.mdb.part").write_text("half")
    with pytest.raises(IncompatibleStore, match=r"is not done: run `optim restore` with the same backup again"):
        await opened(f"lmdb:{tmp_path}").__aenter__()
    assert "data.mdb" not in names(tmp_path)
    (tmp_path / "data.mdb.part").unlink()
    async with opened(f"lmdb:{tmp_path}") as store:
        assert await saved(store)


async def test_leftovers_of_an_interruption_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "data.mdb.part").write_text("half")
    (tmp_path / "lock.mdb").write_text("of a store that was moved away")
    target = LmdbTarget(tmp_path, MAP)
    await target.begin("backup")
    await target.finish()
    await target.close()
    assert names(tmp_path) == ["data.mdb"]


@pytest.mark.parametrize("is_there", [False, True])
async def test_a_restore_that_fails_leaves_nothing(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "target"
    if is_there:
        os.mkdir(folder)
    target = LmdbTarget(folder, MAP)
    await target.begin("backup")
    assert names(folder) == ["data.mdb.part"]
    await target.close()
    assert names(tmp_path) == (["target"] if is_there else [])
    assert not is_there or names(folder) == []


async def test_a_full_store_is_an_error_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_target, "TRANSACTION_BYTES", MIB)
    target = LmdbTarget(tmp_path / "target", 2 * MIB)
    await target.begin("backup")
    about = About.of("session-1", "tenant-1")
    pieces: Iterator[Member] = (Member(f"piece/{n}", os.urandom(MIB)) for n in range(5))
    with pytest.raises(StoreUnavailable, match="is full: delete sessions or raise OPTIM_LMDB_MAP_BYTES"):
        await target.put(about, b"2 00 1 token -\n{}\n", pieces)
    await target.close()
    assert names(tmp_path) == []
