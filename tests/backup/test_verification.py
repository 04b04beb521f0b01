"""The check of a backup: its files, its sessions, and its manifest."""

from pathlib import Path

import pytest

from app.backup.manifest import NAME, NoBackup
from app.backup.verification import verify
from tests.backup.filled import SESSIONS, backed_up, made


@pytest.fixture
async def whole(tmp_path: Path, folder: Path) -> Path:
    await made(f"lmdb:{tmp_path / 'store'}")
    await backed_up(f"lmdb:{tmp_path / 'store'}", folder)
    return folder


async def test_a_whole_backup_is_verified(whole: Path) -> None:
    manifest = verify(whole)
    assert (manifest.sessions, manifest.damaged, manifest.missed) == (SESSIONS, (), ())


async def test_a_changed_or_missing_file_is_named(whole: Path) -> None:
    file = whole / "sessions-0001.tar"
    data = file.read_bytes()
    file.write_bytes(data[:1000] + b"??" + data[1002:])
    with pytest.raises(NoBackup, match=f"{file.name} is not as it was written"):
        verify(whole)
    file.unlink()
    with pytest.raises(NoBackup, match=f"{file.name} cannot be read"):
        verify(whole)


async def test_a_manifest_that_hides_damage_is_refused(whole: Path) -> None:
    text = (whole / NAME).read_text()
    (whole / NAME).write_text(text.replace('"damaged": []', '"damaged": [{"session_id": "plain", "why": "so"}]'))
    with pytest.raises(NoBackup, match="other damaged sessions than its manifest says"):
        verify(whole)
