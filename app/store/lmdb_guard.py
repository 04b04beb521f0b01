"""The guard of an LMDB folder: processes with different files of one folder open never write together.

LMDB's writers wait for one another in `lock.mdb`, and LMDB trusts that nobody removes that file. A process that opens a
new one, or a new `data.mdb` with the old one, overwrites the others' data, and acknowledged saves are lost. So each
process holds a read lock on the folder, at an offset that stands for the two files it has open. A process that finds a
lock at another offset does not open the folder; one that finds other files than its own stops writing. The system
releases the lock when the process ends, however it ends.
"""

import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

from app.errors import StoreUnavailable
from app.store.lmdb_inode import Inode, inode_of

HAS_LOCKS = sys.platform == "linux"
if HAS_LOCKS:
    import fcntl  # its locks of the open file (OFD): those of POSIX go when the process closes any file of that name

FLOCK = "hhqqi4x"
"""The system's `struct flock`: type, base of the start, start, length, process."""
PLACES = (1 << 62) - 1
OPENING_SECONDS = 20.0
"""The time to wait for another process that is opening the folder."""
Inodes: TypeAlias = tuple[int | None, int | None]
"""The inodes of `data.mdb` and `lock.mdb`; `None` for a file that does not exist."""
WAY_OUT = "stop every service on this folder, then start again"


class Guard:
    """The guard of one folder, one in a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = self._data, self._locks = folder / "data.mdb", folder / "lock.mdb"
        self._found: Inodes = (None, None)
        self._inodes: Inodes = (None, None)
        self._opening: int | None = None
        self._lock: int | None = None

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Lend the turn to open LMDB's files, to one process at a time; call `hold` within it.

        Raises `StoreUnavailable` if others have the folder open with files that do not exist any more.
        """
        lock = os.open(self.folder, os.O_RDONLY) if HAS_LOCKS else None
        held = self._lock
        try:
            if lock is not None:
                _wait_for_turn(lock, self.folder)
            self._found = _inode(self._data), _inode(self._locks)
            if lock is not None and _is_held(lock, besides=_place(self._found)):
                raise StoreUnavailable(
                    f"another process has the store in {self.folder} open, by a data.mdb or lock.mdb that was removed "
                    f"or replaced since: {WAY_OUT}"
                )
            self._opening = lock
            yield
        except BaseException:
            self._lock = held
            raise
        finally:
            self._opening = None
            if lock is not None and self._lock == lock:
                _end_turn(lock)
            elif lock is not None:
                os.close(lock)

    def hold(self) -> None:
        """Lock the offset of the opened files. Raises `StoreUnavailable` if the files changed meanwhile."""
        found = _inode(self._data), _inode(self._locks)
        if any(old not in (None, new) for old, new in zip(self._found, found, strict=True)):
            raise StoreUnavailable(f"the files in {self.folder} were replaced while they were opened: {WAY_OUT}")
        self._inodes, self._lock, place = found, self._opening, _place(found)
        if self._lock is not None and place is not None:
            _hold(self._lock, place)

    def close(self) -> None:
        """Release the lock, once LMDB's files are closed."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def check(self) -> int:
        """Return the size of `data.mdb`. Raises `StoreUnavailable` if a file is not the one that was opened.

        The opened one can still be written, but its data are lost when it is closed.
        """
        data, locks = self._inodes
        _expect(self._locks, locks)
        return _expect(self._data, data).size

    def is_held(self) -> bool:
        """Return whether any process has the folder open."""
        if not HAS_LOCKS:
            return False
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            return _is_held(lock)
        finally:
            os.close(lock)


def _inode(file: Path) -> int | None:
    with suppress(FileNotFoundError):
        return inode_of(str(file)).number
    return None


def _expect(file: Path, inode: int | None) -> Inode:
    try:
        found = inode_of(str(file))
    except OSError as error:
        raise StoreUnavailable(f"{file} was removed while the store was open: {WAY_OUT} ({error.strerror})") from error
    if found.number != inode:
        raise StoreUnavailable(f"{file} was replaced while the store was open: {WAY_OUT}")
    return found


def _place(inodes: Inodes) -> int | None:
    """Return the offset of the lock for these two files; `None` without both."""
    if None in inodes:
        return None
    name = blake2b(repr(inodes).encode(), digest_size=8).digest()
    return 1 + int.from_bytes(name, "big") % PLACES


def _wait_for_turn(lock: int, folder: Path) -> None:
    until = time.monotonic() + OPENING_SECONDS
    with suppress(OSError):  # on a file system without such locks
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    break
                time.sleep(0.01)
        raise StoreUnavailable(f"another process has been opening the store in {folder} for {OPENING_SECONDS:.0f} s")


def _end_turn(lock: int) -> None:
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_UN)


def _hold(lock: int, place: int) -> None:
    with suppress(OSError):
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, place, 1, 0))


def _is_held(lock: int, besides: int | None = None) -> bool:
    """Return whether another process holds a lock at any offset but one."""
    spans = [(0, 0)] if besides is None else [(0, besides), (besides + 1, 0)]  # a length of 0 goes on for ever
    with suppress(OSError):
        for start, length in spans:
            question = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
            if struct.unpack(FLOCK, fcntl.fcntl(lock, fcntl.F_OFD_GETLK, question))[0] != fcntl.F_UNLCK:
                return True
    return False
