"""Backups of stores in use: each session whole, nothing left of one that failed, damage named."""

import asyncio
import os
import resource
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.backup import backing_up
from app.backup.verification import verify
from app.errors import StoreUnavailable
from app.store import redis_patience
from app.store.base import Head, Store
from app.store.stamp import VersionConflict
from tests.backup.filled import MIB, SESSIONS, backed_up, made, opened, restored
from tests.command import Optim
from tests.reaper import tied
from tests.servers import RedisServer
from tests.store.changes import row, saved, state_of, used
from tests.store.ledgers import ledger_saved
from tests.store.places import DurablePlace, Place, place_at

SIZES = {"small": 1000, "middle": 3 * MIB, "large": 9 * MIB}


@asynccontextmanager
async def stepped(store: Store, pause: float) -> AsyncIterator[None]:
    """Save sessions of several sizes all the time: each state has its version everywhere, and as many rows and keys."""

    async def step(name: str) -> None:
        head: Head | None = None
        while True:
            version = head.version + 1 if head else 1
            part = b"%16d" % version
            parts = [part * (min(MIB, SIZES[name]) // 16)] * max(1, SIZES[name] // MIB)
            head = await saved(store, head, parts, session_id=name, row=row(version), used=[used(f"{version}")], undo=1)
            await asyncio.sleep(pause)

    tasks = [asyncio.create_task(step(name)) for name in SIZES]
    try:
        await asyncio.sleep(0.3)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def own_process(*words: object, **limits: int) -> "subprocess.CompletedProcess[str]":
    """Run the command like an operator, in a process of its own, whose files may have so many bytes."""

    def limit() -> None:
        if limits:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"], limits["file_bytes"]))

    command = [sys.executable, "-m", "app.cli", *map(str, words)]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=60, preexec_fn=limit
    )


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in (folder, *folder.iterdir())}


def is_gone(folder: Path) -> bool:
    return not folder.exists()


def killed_backup(url: str, folder: Path) -> None:
    """Kill a backup once it has begun to write."""
    process = tied([sys.executable, "-m", "app.cli", "backup", str(folder), "--store", url], stderr=subprocess.DEVNULL)
    while not (folder / "sessions-0001.tar").exists():
        assert process.poll() is None
    process.kill()
    process.wait()


@pytest.mark.long
async def test_each_session_of_a_store_in_use_is_whole(source_url: str, folder: Path, tmp_path: Path) -> None:
    async with opened(source_url) as store, stepped(store, 0.01):
        told = await own_process("backup", folder, "--store", source_url)
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout.startswith(f"backed up {source_url} to {folder}: 3 sessions, ")
    assert modes(folder) == {
        "backup": 0o700, "manifest.json": 0o600, "sessions-0001.tar": 0o600
    }  # fmt: skip
    await restored(folder, f"lmdb:{tmp_path / 'back'}")
    async with opened(f"lmdb:{tmp_path / 'back'}") as store:
        for name in SIZES:
            head = await store.load(name)
            assert head
            assert head.version > 3
            state = await state_of(store, head)
            assert state == b"%16d" % head.version * (len(state) // 16)
            assert await store.history(name, 0, 100_000) == [b"row %d" % n for n in range(1, head.version + 1)]
            await saved(store, head, used=[used(f"{head.version + 1}")])


@pytest.mark.long
async def test_old_rows_and_keys_are_backed_up_too(redis_url: str, folder: Path, tmp_path: Path) -> None:
    async with opened(redis_url) as store:
        head = None
        for n in range(2300):
            head = await saved(store, head, row=row(n // 3), used=[used(f"{n}")])
        expected = await store.history("session-1", -1, 10_000)
    await backed_up(redis_url, folder)
    await restored(folder, f"lmdb:{tmp_path / 'back'}")
    async with opened(f"lmdb:{tmp_path / 'back'}") as store:
        assert await store.history("session-1", -1, 10_000) == expected
        assert len(expected) == 2300
        assert None not in [await store.used("session-1", used(f"{n}").digest) for n in range(2300)]


async def test_a_session_that_never_rests_is_named(
    source_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(source_url)
    monkeypatch.setattr(backing_up, "PAUSE_SECONDS", 0)
    kind = "app.store.lmdb_source.LmdbSource" if source_url.startswith("lmdb") else "app.store.redis_source.RedisSource"
    members = __import__(kind.rpartition(".")[0], fromlist=["x"])
    source = getattr(members, kind.rpartition(".")[2])
    whole: Callable[..., AsyncIterator[object]] = source.members

    async def restless(self: object, about: object) -> AsyncIterator[object]:
        async for member in whole(self, about):
            yield member
            if about.session_id == "plain":  # type: ignore[attr-defined]
                raise VersionConflict

    monkeypatch.setattr(source, "members", restless)
    manifest = await backed_up(source_url, folder)
    assert [flaw.session_id for flaw in manifest.missed] == ["plain"]
    assert "changed during each of 50 tries" in manifest.missed[0].why
    assert verify(folder).sessions == SESSIONS - 1


async def damage(place: Place) -> None:
    """Save a whole session and one of each damage."""
    assert isinstance(place, DurablePlace)
    async with place.store as store:
        for name in ("whole", "damaged piece", "damaged head", "damaged ledger", "lost contribution", "lost piece"):
            head = await saved(store, session_id=name, row=row(1))
            if name in ("damaged piece", "lost piece"):
                await place.put_piece(name, head.pieces[0].name, b"???" if name == "damaged piece" else None)
        await place.put_head("damaged head", (await place.head("damaged head"))[:-1])
        for name in ("whole", "damaged ledger", "lost contribution"):
            ledger = await ledger_saved(store, None, [b"waits"], session_id=name)
        await place.put_piece(ledger.session_id, ledger.pieces[0].name, None)
        await place.put_ledger("damaged ledger", b"garbage")


async def expect_the_whole_one(url: str) -> None:
    async with opened(url) as store:
        head = await store.load("whole")
        assert head
        assert await state_of(store, head) == b"onetwo"
        assert await store.is_listed("tenant-1", "damaged head")
        assert len(await store.list("tenant-1", 10)) == 6


def test_damaged_sessions_are_kept_and_named(source_url: str, target_url: str, folder: Path, optim: Optim) -> None:
    asyncio.run(damage(place_at(source_url)))
    status, _, errors = optim("backup", str(folder), "--store", source_url)
    assert status == 5, errors
    assert {line.partition(" is damaged")[0] for line in errors.splitlines()} == {
        "session damaged head", "session damaged ledger", "session damaged piece", "session lost contribution",
        "session lost piece",
    }  # fmt: skip
    assert optim("backup", "--verify", str(folder))[0] == 5
    status, _, errors = optim("restore", str(folder), "--store", target_url)
    assert status == 5, errors
    asyncio.run(expect_the_whole_one(target_url))


@pytest.mark.long
async def test_a_full_disk_leaves_nothing(source_url: str, folder: Path) -> None:
    await made(source_url)
    told = await own_process("backup", folder, "--store", source_url, file_bytes=4 * MIB)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith(f"optim: {folder / 'sessions-0001.tar'} cannot be written (File too large)")
    assert is_gone(folder)


@pytest.mark.long
def test_a_killed_backup_is_told_from_a_whole_one(source_url: str, folder: Path, tmp_path: Path, optim: Optim) -> None:
    asyncio.run(made(source_url))
    killed_backup(source_url, folder)
    status, output, errors = optim("backup", "--verify", str(folder))
    assert (status, output) == (3, "")
    assert f"no whole backup in {folder}: manifest.json is missing, as after an interrupted backup" in errors
    assert optim("restore", str(folder), "--store", f"lmdb:{tmp_path / 'target'}")[0] == 3


async def test_a_redis_that_comes_back_costs_nothing(own_redis: RedisServer, folder: Path) -> None:
    await made(own_redis.url)
    async with asyncio.timeout(60):
        own_redis.kill()
        backup = asyncio.create_task(backed_up(own_redis.url, folder))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_redis.start)
        assert (await backup).sessions == SESSIONS


async def test_a_redis_that_stays_away_leaves_nothing(
    own_redis: RedisServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(own_redis.url)
    own_redis.kill()
    monkeypatch.setattr(redis_patience, "WAITS", (0.01, 0.01))
    with pytest.raises(StoreUnavailable, match="failed or cannot be reached"):
        await backed_up(own_redis.url, folder)
    assert is_gone(folder)


async def test_large_stores_go_into_several_volumes(
    source_url: str, target_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backing_up, "VOLUME_BYTES", 3 * MIB)
    async with opened(source_url) as store:
        for n in range(5):
            await saved(store, None, [os.urandom(MIB), os.urandom(MIB)], session_id=f"session-{n}")
    manifest = await backed_up(source_url, folder)
    assert [(file.name, file.sessions) for file in manifest.files] == [
        ("sessions-0001.tar", 2), ("sessions-0002.tar", 2), ("sessions-0003.tar", 1)
    ]  # fmt: skip
    assert (await restored(folder, target_url)).sessions == 5
