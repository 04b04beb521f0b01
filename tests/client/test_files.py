"""The atomic replacement of a file."""

import os
from pathlib import Path

import pytest
from optim_client._files import replacing


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"old")
    with replacing(tmp_path / "state") as file:
        file.write(b"new")
        assert (tmp_path / "state").read_bytes() == b"old"
    assert content(tmp_path) == {"state": b"new"}


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"old")
    with pytest.raises(TypeError, match="bytes-like"), replacing(tmp_path / "state") as file:
        file.writelines([b"new", None])  # type: ignore[list-item]
    assert content(tmp_path) == {"state": b"old"}


def test_a_file_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append((tmp_path / "state").exists()), fsync(fd)))
    with replacing(tmp_path / "state") as file:
        file.write(b"new")
    assert synced == [False, True]  # the file, then the folder that names it


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "state")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "state").read_bytes() == b"new"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), replacing(tmp_path / "nowhere" / "state"):
        pass


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with replacing(tmp_path / "state"):
        pass
    assert (tmp_path / "state").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("name", ["folder", "x" * 300])
def test_a_path_that_cannot_be_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=name) as raised, replacing(tmp_path / name) as file:
        file.write(b"new")
    assert ".part" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_device_or_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"is a device or a pipe, not a file: .*pipe"), replacing(tmp_path / "pipe"):
        pass
    assert [path.is_fifo() for path in tmp_path.iterdir()] == [True]


def test_an_unwritable_folders_error_names_the_target() -> None:
    with pytest.raises(OSError, match="/proc/state") as raised, replacing("/proc/state"):
        pass
    assert ".part" not in str(raised.value)
