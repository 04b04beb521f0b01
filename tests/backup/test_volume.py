"""Volumes: sessions one after the other, in a form that `tar` reads, and known by their SHA-256."""

import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from app.backup.manifest import File, NoBackup
from app.backup.volume import VolumeWriter, grouped, members
from app.store.snapshot import Member

SESSIONS = {f"session {n}/…": [Member("head", b"head %d" % n), Member("piece/1-a-0", b"x" * 600 * n)] for n in range(3)}


def written(path: Path) -> File:
    volume = VolumeWriter(path)
    for session_id, session in SESSIONS.items():
        with volume.session():
            for member in session:
                volume.put(session_id, member)
    volume.put_claims(Member("claims/1", b"claim"))
    file = volume.finish()
    volume.close()
    return file


def test_sessions_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = written(tmp_path / "volume.tar")
    assert (file.name, file.sessions) == ("volume.tar", 3)
    assert file.bytes == (tmp_path / "volume.tar").stat().st_size
    assert file.sha256 == sha256((tmp_path / "volume.tar").read_bytes()).hexdigest()
    assert [list(group) for group in grouped(members(tmp_path, file))] == [
        *SESSIONS.values(), [Member("claims/1", b"claim")]
    ]  # fmt: skip


def test_tar_can_list_a_volume(tmp_path: Path) -> None:
    written(tmp_path / "volume.tar")
    listed = subprocess.check_output(["tar", "tf", tmp_path / "volume.tar"], text=True).splitlines()
    assert listed[:2] == ["session/session%200%2F%E2%80%A6/head", "session/session%200%2F%E2%80%A6/piece/1-a-0"]
    assert listed[-1] == "claims/1"


def fail_in(volume: VolumeWriter) -> None:
    with volume.session():
        volume.put("half", Member("head", b"x" * 10_000))
        volume.put("half", Member("ledger", None))  # type: ignore[arg-type]


def test_a_session_that_failed_is_taken_back(tmp_path: Path) -> None:
    volume = VolumeWriter(tmp_path / "volume.tar")
    with volume.session():
        volume.put("whole", Member("head", b"head"))
    with pytest.raises(TypeError):
        fail_in(volume)
    with volume.session():
        pass
    with volume.session():
        volume.put("last", Member("head", b"last"))
    file = volume.finish()
    volume.close()
    assert file.sessions == 2
    assert list(members(tmp_path, file)) == [("whole", Member("head", b"head")), ("last", Member("head", b"last"))]


@pytest.mark.parametrize("place", [0, 300, 520, -1])
def test_each_changed_byte_is_found(tmp_path: Path, place: int) -> None:
    file = written(tmp_path / "volume.tar")
    data = bytearray((tmp_path / "volume.tar").read_bytes())
    data[place] ^= 1
    (tmp_path / "volume.tar").write_bytes(data)
    with pytest.raises(NoBackup, match=r"volume\.tar (cannot be read|is not as it was written)"):
        list(members(tmp_path, file))


@pytest.mark.parametrize("length", [0, 512, 700, -1])
def test_a_cut_volume_is_refused(tmp_path: Path, length: int) -> None:
    file = written(tmp_path / "volume.tar")
    data = (tmp_path / "volume.tar").read_bytes()
    (tmp_path / "volume.tar").write_bytes(data[:length])
    with pytest.raises(NoBackup, match=r"volume\.tar (cannot be read|is not as it was written)"):
        list(members(tmp_path, file))


def test_a_missing_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoBackup, match=r"cannot be read: .*No such file"):
        list(members(tmp_path, File("volume.tar", 1, "00", 1)))
