"""The inode and the size of a file, read without its times.

Since Linux 6.13, a write after somebody has read a file's times notes a new, finer one, which makes the sync after it
take a third longer. `os.stat` reads them. So this calls the C library's `statx`, where there is one.
"""

import ctypes
import os
import struct
import sys
from typing import Any, NamedTuple

AT_FDCWD = -100
STATX_INO, STATX_SIZE = 0x100, 0x200
FIELDS = struct.Struct("=QQ")
"""The inode and the size within the system's `struct statx`, which has `BYTES` bytes."""
OFFSET, BYTES = 32, 256


class Inode(NamedTuple):
    """The number of a file's inode, and the file's size."""

    number: int
    size: int


def _found_statx() -> Any:
    if sys.platform != "linux":
        return None
    try:
        statx = ctypes.CDLL(None, use_errno=True).statx
    except (OSError, AttributeError):
        return None
    statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)
    return statx


_statx = _found_statx()


def inode_of(path: str) -> Inode:
    """Return the inode of the file with this path. Raises `OSError` as `os.stat` does."""
    if _statx is not None:
        room = ctypes.create_string_buffer(BYTES)
        if _statx(AT_FDCWD, os.fsencode(path), 0, STATX_INO | STATX_SIZE, room) == 0:
            return Inode(*FIELDS.unpack_from(room, OFFSET))
    found = os.stat(path)  # also for the error, and where the system knows no such call
    return Inode(found.st_ino, found.st_size)
