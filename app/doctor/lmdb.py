"""The place of the embedded store: its file system, its room and its modes."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from app.doctor import modes
from app.doctor.finding import Finding, ok, problem, warning
from app.settings import Settings
from app.store.lmdb import LmdbStore
from app.store.lmdb_file import folder_of

MOUNTS = Path("/proc/self/mounts")
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre", "afs"}
"""File systems on which LMDB's locks and its memory map do not hold."""
VOLATILE = {"tmpfs", "ramfs"}
LEAST_FREE = 1 << 30
FULL = 0.8
"""The share of the largest size from which on a store is nearly full."""


def examined(store: LmdbStore, settings: Settings) -> Iterator[Finding]:
    """Yield the findings about an open store."""
    if settings.lmdb_sync == "relaxed":
        words = "an answered step survives a `kill -9`, but no power cut"
        yield warning("durability", words, "OPTIM_LMDB_SYNC=full survives it")
    else:
        yield ok("durability", "an answered step survives a power cut")
    yield from place(settings)
    yield _size(store.file.paths[1], settings)
    yield from modes.examined(store.file.paths)


def place(settings: Settings) -> Iterator[Finding]:
    """Yield the findings about the folder's file system, also where there is no store yet."""
    folder = folder_of(settings)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    kind = file_system(there)
    if kind in NETWORK:
        yield problem("disk", f"{there} is on {kind}, a network's", "LMDB needs a disk of this machine, or use a Redis")
    elif kind in VOLATILE:
        yield problem("disk", f"{there} is on {kind}, in memory", "Name a folder on a disk: OPTIM_STORE=lmdb:PATH")
    elif kind == "overlay":
        yield warning("disk", f"{there} is in a container, and goes with it", "Mount a volume there")
    free = shutil.disk_usage(there).free
    words = f"{free / 1e9:.1f} GB free" + (f" on {kind}" if kind else "")
    if free < LEAST_FREE:
        yield problem("disk", words, "Make room: a full disk refuses steps (503)")
    else:
        yield ok("disk", words)


def file_system(path: Path) -> str | None:
    """Return the kind of the file system that a path is on; `None` where the system does not say it."""
    if sys.platform != "linux":
        return None
    lines = [line.split(" ") for line in MOUNTS.read_text().splitlines()]
    kinds = {line[1].replace("\\040", " "): line[2] for line in lines}  # of two at one place, the later is seen
    real = path.resolve()
    return next((kinds[str(folder)] for folder in (real, *real.parents) if str(folder) in kinds), None)


def _size(file: Path, settings: Settings) -> Finding:
    size, most = file.stat().st_size, settings.lmdb_map_bytes
    words = f"{size / 1e9:.3g} GB, and may grow to {most / 1e9:.5g} GB"
    if size > FULL * most:
        return warning("size", words, "Delete sessions, or raise OPTIM_LMDB_MAP_BYTES")
    return ok("size", words)
