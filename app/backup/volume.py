"""The volumes of a backup: files of sessions, one after the other, in the format of `tar`.

A session's member is the file `session/<id>/<member>`, those of the claims are `claims/<number>`.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, BinaryIO, cast
from urllib.parse import quote

from app.backup.manifest import File, NoBackup
from app.private_files import opened, sync
from app.store.snapshot import Member

VOLUME_BYTES = 1 << 30
"""The size at which the next session goes into the next volume."""
SESSION, CLAIMS = "session/", "claims"
READ_BYTES = 1 << 20


class VolumeWriter:
    """One volume that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = opened(path)
        self._hash = hashlib.sha256()
        self.size = 0
        self.sessions = 0

    @contextmanager
    def session(self) -> Iterator[None]:
        """Take one session within the block; take back what was written of it if the block fails."""
        size, sha256 = self.size, self._hash.copy()
        try:
            yield
            self.sessions += self.size > size
        except BaseException:
            self._file.seek(size)
            self._file.truncate()
            self.size, self._hash = size, sha256
            raise

    def put(self, session_id: str, member: Member) -> None:
        """Write a member of a session."""
        self._put(f"{SESSION}{quote(session_id, safe='')}/{member.name}", member)

    def put_claims(self, member: Member) -> None:
        """Write a member of the claims."""
        self._put(member.name, member)

    def _put(self, name: str, member: Member) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(member.data), 0o600
        self._write(info.tobuf(tarfile.GNU_FORMAT))
        self._write(member.data)
        self._write(bytes(-info.size % tarfile.BLOCKSIZE))

    def _write(self, data: bytes | memoryview) -> None:
        with self._named():
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> File:
        """Write the end, and all to the disk; return what the file is."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        with self._named():
            sync(self._file)
        return File(self.path.name, self.size, self._hash.hexdigest(), self.sessions)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file in an error, and the way out."""
        try:
            yield
        except OSError as error:
            raise OSError(
                f"{self.path} cannot be written ({error.strerror}), and nothing was backed up: make room, or name a "
                f"folder on another disk"
            ) from error

    def close(self) -> None:
        with suppress(OSError):  # of a last write that failed before
            self._file.close()


class _Hashed(io.RawIOBase):
    """A file whose bytes are hashed as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        self.size += len(data)
        return data


def members(folder: Path, file: File) -> Iterator[tuple[str, Member]]:
    """Yield each member of a volume after its session's name there, which is empty for the claims.

    Raises `NoBackup`, maybe only at the end, if the volume is not as it was written.
    """
    path = folder / file.name
    try:
        with path.open("rb") as opened_file:
            hashed = _Hashed(opened_file)
            with tarfile.open(fileobj=cast("BinaryIO", hashed), mode="r|", bufsize=READ_BYTES) as tar:
                while info := tar.next():
                    tar.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
                    data = cast("IO[bytes]", tar.extractfile(info)).read()
                    owner, _, name = info.name.removeprefix(SESSION).partition("/")
                    yield ("", Member(info.name, data)) if owner == CLAIMS else (owner, Member(name, data))
            while hashed.read(READ_BYTES):
                pass
    except (OSError, tarfile.TarError) as error:
        raise NoBackup(f"{path} cannot be read: {error}") from error
    if (hashed.size, hashed.sha256.hexdigest()) != (file.bytes, file.sha256):
        raise NoBackup(f"{path} is not as it was written: its SHA-256 is not {file.sha256}; restore another backup")


def grouped(found: Iterator[tuple[str, Member]]) -> Iterator[Iterator[Member]]:
    """Yield the members of one session after the other; each must be read before the next."""
    for _, group in groupby(found, key=itemgetter(0)):
        yield (member for _, member in group)
