"""Atomic replacement of a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL, EISDIR, ENOENT
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield an empty file that replaces `path` at the end, once it is on the disk; an error removes it.

    An `OSError` names `path`, not the temporary file beside it.
    """
    target = Path(path).resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(ENOENT, "no such folder", str(target.parent))
    if target.is_dir():
        raise IsADirectoryError(EISDIR, "is a folder, not a file", str(target))
    if target.exists() and not target.is_file():  # as root, /dev/null would be gone
        raise OSError(EINVAL, "is a device or a pipe, not a file", str(target))
    beside = target.with_name(f".{uuid4().hex}.part")
    try:
        with _named(target):
            file = beside.open("xb")
        with file:
            yield file
            sync(file)
        with _named(target):
            beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextmanager
def _named(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None


def sync(file: BinaryIO) -> None:
    """Wait until everything written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
