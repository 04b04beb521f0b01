"""Files for their owner alone, in folders that are new or empty."""

import stat
from pathlib import Path

import pytest

from app.private_files import new_folder, opened, sync, sync_folder


def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as file:
        file.write(b"content")
        sync(file)
    sync_folder(tmp_path)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    with pytest.raises(FileExistsError):
        opened(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "dear"


def test_a_new_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    with new_folder(tmp_path / "over" / "new"):
        (tmp_path / "over" / "new" / "file").touch()
    assert stat.S_IMODE((tmp_path / "over" / "new").stat().st_mode) == 0o700
    assert (tmp_path / "over" / "new" / "file").exists()


def fail_in(folder: Path) -> None:
    with new_folder(folder):
        (folder / "file").touch()
        (folder / "file").touch(exist_ok=False)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_failure_leaves_what_was_there_before(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "folder"
    if is_there:
        folder.mkdir()
    with pytest.raises(FileExistsError):
        fail_in(folder)
    assert folder.exists() == is_there
    assert not is_there or list(folder.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    with (
        pytest.raises(ValueError, match="is not empty, and nothing is overwritten: it has file;"),
        new_folder(tmp_path),
    ):
        raise AssertionError
    assert (tmp_path / "file").read_text() == "dear"
