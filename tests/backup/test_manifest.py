"""The manifest: written last, and read by any version that knows its format."""

import stat
from pathlib import Path

import orjson
import pytest

from app.backup.manifest import FORMAT, NAME, File, Flaw, Manifest, NoBackup

MANIFEST = Manifest(
    id="abc",
    made_by="optim-service 1.0",
    began_at="2026-11-29T03:00:00Z",
    ended_at="2026-11-29T03:00:01Z",
    store="lmdb",
    store_format=2,
    of_one_moment=True,
    files=(File("sessions-0001.tar", 10, "00", 3), File("sessions-0002.tar", 5, "11", 2)),
    damaged=(Flaw("session-1", "piece 1 is lost"),),
)


def changed(folder: Path, **members: object) -> None:
    MANIFEST.write(folder)
    document = orjson.loads((folder / NAME).read_bytes())
    (folder / NAME).write_bytes(orjson.dumps(document | members))


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST
    assert (MANIFEST.sessions, MANIFEST.bytes) == (5, 15)
    assert [file.name for file in tmp_path.iterdir()] == [NAME]
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_members_of_later_versions_are_ignored(tmp_path: Path) -> None:
    changed(tmp_path, later=1, damaged=[{"session_id": "session-1", "why": "piece 1 is lost", "later": 1}])
    assert Manifest.read(tmp_path) == MANIFEST


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    changed(tmp_path, format=FORMAT + 1)
    with pytest.raises(NoBackup, match=f"has format {FORMAT + 1}, of a newer version of this service"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": "1"}'])
def test_a_garbled_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(NoBackup, match=r"manifest\.json cannot be read"):
        Manifest.read(tmp_path)


def test_a_folder_without_a_manifest_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no whole backup in .*: manifest\.json is missing"):
        Manifest.read(tmp_path / "nowhere")
