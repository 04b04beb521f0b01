"""A process to be killed: it saves one session again and again, and prints each version once it is saved.

    python -m tests.store.writer URL SESSION PIECES [COUNT]

The version determines the whole state, so that a later look can tell a whole state from a torn one.
"""

import subprocess
import sys
from pathlib import Path

import uvloop

from app.settings import Settings
from app.store import open_store
from app.store.stamp import VersionConflict
from tests.reaper import tied
from tests.store.changes import change_of, row

ROOT = Path(__file__).parents[2]


def parts_of(version: int, pieces: int) -> list[bytes]:
    """Return one part that never changes, then `pieces` of 1 MiB (a single one: 8 kB) that always do."""
    return [b"stays", *((b"%08d" % version) * (131_072 if pieces > 1 else 1_000) for _ in range(pieces))]


def start(url: str, session_id: str, pieces: int = 1, count: int | None = None) -> subprocess.Popen[bytes]:
    arguments = [url, session_id, str(pieces), *([] if count is None else [str(count)])]
    return tied([sys.executable, "-m", "tests.store.writer", *arguments], stdout=subprocess.PIPE, cwd=ROOT)


async def write(url: str, session_id: str, pieces: int, count: int | None) -> None:
    written = 0
    async with open_store(Settings(store=url)) as store:
        while written != count:
            previous = await store.load(session_id)
            version = previous.version + 1 if previous else 1
            parts = parts_of(version, pieces)
            change = change_of(previous, parts, session_id=session_id, row=row(version))
            try:
                await store.save(change)
            except VersionConflict:
                continue
            print(version, flush=True)
            written += 1


if __name__ == "__main__":
    url, session_id, pieces, *count = sys.argv[1:]
    uvloop.run(write(url, session_id, int(pieces), int(count[0]) if count else None))
