"""The inode and the size of a file."""

from pathlib import Path

import pytest

from app.store import lmdb_inode
from app.store.lmdb_inode import inode_of


@pytest.fixture(params=["as it is", "without statx"])
def _system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without statx":
        monkeypatch.setattr(lmdb_inode, "_statx", None)


@pytest.mark.usefixtures("_system")
def test_inode_and_size_are_those_of_stat(tmp_path: Path) -> None:
    file = tmp_path / "dätä"
    for size in (0, 1, (5 << 30) + 7):
        with file.open("wb") as written:
            written.truncate(size)
        assert inode_of(str(file)) == (file.stat().st_ino, size)
    (tmp_path / "link").symlink_to(file)
    assert inode_of(str(tmp_path / "link")).number == file.stat().st_ino


@pytest.mark.usefixtures("_system")
def test_a_missing_file_raises_as_stat_does(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing here"):
        inode_of(str(tmp_path / "nothing here"))
