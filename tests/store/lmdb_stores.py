"""LMDB stores in a folder, and other processes that have their file open."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from app.settings import Settings
from app.store import lmdb_staging, open_store
from app.store.base import Save, Store
from app.store.lmdb import LmdbStore
from tests.reaper import tied


def store_in(folder: Path, **settings: Any) -> Store:
    return open_store(Settings(store=f"lmdb:{folder}", **settings))


def another_process(folder: Path, code: str) -> subprocess.Popen[bytes]:
    """Start a process that has the same file open, and has run `code`."""
    script = f"import lmdb, sys, time\nstore = lmdb.open({str(folder)!r}, map_size=1 << 40, max_dbs=9)\n{code}"
    process = tied([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


async def stage(store: LmdbStore, change: Save, pieces: int) -> None:
    head = change.head
    for part in change.fresh[:pieces]:
        await store.file.write(
            lambda txn, part=part: lmdb_staging.stage(txn, store.file.tables, head.session_id, head.token, part)
        )
