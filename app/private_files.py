"""Files for their owner alone, in a new folder, on the disk once they are synced."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def opened(path: Path) -> BinaryIO:
    """Open a new file for writing and reading, with mode 0600."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")


def sync(file: BinaryIO) -> None:
    """Write all of a file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Write the names of a folder's files to the disk."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder, or take an empty one; if the block fails, leave what was there before.

    Raises `ValueError` for a folder that is not empty.
    """
    if is_new := not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
    elif found := sorted(file.name for file in folder.iterdir()):
        raise ValueError(
            f"{folder} is not empty, and nothing is overwritten: it has {', '.join(found[:3])}; name another folder"
        )
    try:
        yield
    except BaseException:
        for file in folder.iterdir():
            file.unlink()
        if is_new:
            folder.rmdir()
        raise
    if is_new:
        sync_folder(folder.parent)
