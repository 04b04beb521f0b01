"""Stores with everything that a session may have, and their content as the tests compare it."""

import os
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

from app.backup import backing_up, restoring
from app.backup.manifest import Manifest
from app.backup.restoring import Restored
from app.settings import Settings
from app.store import open_store, source_of, target_of
from app.store.base import Head, Store
from app.store.keys import Claim, key_digest
from tests.store.changes import mark, row, saved, used
from tests.store.ledgers import ledger_saved
from tests.upgrade.stored import KINDS, Dump, text

MIB = 1 << 20


def opened(url: str, **settings: Any) -> Store:
    return open_store(Settings(store=url, **settings))


async def fill(store: Store) -> None:
    """Save sessions of two tenants: plain, with generations, keys and history, with a ledger, large, and mortal."""
    head = await saved(store, session_id="plain", document=b'{"plain": true}')
    for i in range(5):
        parts = (b"one", b"step %d" % i)
        change = mark(f'{{"lr": {i}}}') if i % 2 else None
        head = await saved(store, head, parts, undo=2, row=row(i + 1), used=[used(f"key {i}")], mark=change)
    long: Head | None = None
    for i in range(60):
        long = await saved(store, long, session_id="long", row=row(i + 1))
    await saved(store, session_id="other", tenant="tenant 2")
    await saved(store, session_id="large", parts=[os.urandom(MIB) for _ in range(9)])
    await saved(store, session_id="mortal", expires_at=time.time() + 3600, row=row(1), used=[used("its key")])
    await saved(store, session_id="working", row=row(1, "row ünï\ncode"))
    await ledger_saved(store, None, [b"waits", b"too"], session_id="working", due_at=1234.5)
    claim = Claim("tenant-1", key_digest("creates"), "claimed", key_digest("request"), time.time())
    await store.claim(claim)
    await saved(store, session_id="claimed", claimed=True)
    await store.claim(Claim("tenant 2", key_digest("alone"), "never made", key_digest("request"), time.time()))


SESSIONS = 7


async def made(url: str) -> None:
    """Fill a store, and close it."""
    async with opened(url, history_limit=20) as store:
        await fill(store)


async def backed_up(url: str, folder: Path) -> Manifest:
    async with source_of(Settings(store=url)) as source:
        return await backing_up.back_up(source, folder)


async def restored(folder: Path, url: str) -> Restored:
    return await restoring.restore(folder, target_of(Settings(store=url)))


def content(url: str) -> Dump:
    """Return all that a store holds, without the notes that it makes for itself.

    The places in `thinned` are left out: any place up to a row stands for it.
    """
    dump = KINDS[url.partition(":")[0]].read(url)
    if url.startswith("lmdb:"):
        dump[""].pop(text(b"optim-service length"), None)
        dump["thinned"] = {key: text(b64decode(kept)[:40]) for key, kept in dump["thinned"].items()}
    return dump
