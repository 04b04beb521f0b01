"""The place of the embedded store: file systems that lose it, little room, and what it survives."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from app.doctor import lmdb
from app.doctor.finding import Finding
from app.settings import Settings
from app.store import open_store
from app.store.lmdb import LmdbStore


async def found(folder: Path, **settings: object) -> dict[str, Finding]:
    chosen = Settings(store=f"lmdb:{folder}", **settings)  # type: ignore[arg-type]
    async with open_store(chosen) as store:
        assert isinstance(store, LmdbStore)
        return {finding.check: finding for finding in lmdb.examined(store, chosen)}


async def test_a_store_on_a_disk_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb, "file_system", lambda _: "ext4")
    findings = await found(tmp_path / "store")
    assert list(findings) == ["durability", "disk", "size"]
    assert {finding.level for finding in findings.values()} == {"ok"}


async def test_a_relaxed_sync_is_found(tmp_path: Path) -> None:
    assert (await found(tmp_path / "store", lmdb_sync="relaxed"))["durability"].level == "warning"


async def test_a_store_near_its_largest_size_is_found(tmp_path: Path) -> None:
    async with open_store(Settings(store=f"lmdb:{tmp_path}", lmdb_map_bytes=1 << 20)) as store:
        assert isinstance(store, LmdbStore)
        with store.file.paths[1].open("r+b") as file:
            file.truncate(900_000)
        finding = list(lmdb.examined(store, Settings(store=f"lmdb:{tmp_path}", lmdb_map_bytes=1 << 20)))[-1]
    assert (finding.check, finding.level) == ("size", "warning")


async def test_loose_modes_are_found(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    (tmp_path / "store").chmod(0o755)
    assert (await found(tmp_path / "store"))["modes"].way_out == f"Run chmod 700 {tmp_path / 'store'}"


@pytest.mark.parametrize(("kind", "level"), [("nfs4", "problem"), ("tmpfs", "problem"), ("overlay", "warning")])
def test_a_file_system_that_loses_a_store_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, level: str
) -> None:
    monkeypatch.setattr(lmdb, "file_system", lambda _: kind)
    first, _ = lmdb.place(Settings(store=f"lmdb:{tmp_path / 'not' / 'yet'}"))
    assert first.level == level
    assert first.found.startswith(f"{tmp_path} is ")


def test_a_disk_that_is_nearly_full_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    assert list(lmdb.place(Settings(store=f"lmdb:{tmp_path}")))[-1].level == "problem"


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/b {tmp_path / 'b'} nfs4 rw 0 0\n")
    monkeypatch.setattr(lmdb, "MOUNTS", mounts)
    assert lmdb.file_system(tmp_path / "b" / "store") == "nfs4"
    assert lmdb.file_system(tmp_path) == "ext4"
