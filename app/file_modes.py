"""Modes of the files with secrets and sessions: which let in others than their owner."""

import os
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path


def loose(files: Iterable[Path]) -> list[str]:
    """Return a line for each file or folder that others may read or write, with the command that keeps them out."""
    if os.name != "posix":  # modes do not tell who has access
        return []
    return [line for file in files if (line := _told(file))]


def _told(file: Path) -> str | None:
    try:
        found = file.stat()
    except OSError:  # opening it will tell
        return None
    mode = found.st_mode
    reading = 0o004 if _lent(found) else 0o044
    may = [word for word, bits in (("read", reading), ("written", 0o022)) if mode & bits]
    if not may:
        return None
    right = 0o700 if stat.S_ISDIR(mode) else 0o600
    return (
        f"{file} may be {' and '.join(may)} by other users of this machine (its mode is {stat.S_IMODE(mode):04o}): "
        f"run chmod {right:o} {shlex.quote(str(file))}"
    )


def _lent(found: os.stat_result) -> bool:
    """Return whether another user, such as root, gave the file to a group of this process, as Kubernetes does."""
    return found.st_uid != os.geteuid() and found.st_gid in (os.getegid(), *os.getgroups())
