"""The promises of durable stores to several processes, and to one that is killed."""

import asyncio
import random
import subprocess
from pathlib import Path

import pytest

from app.settings import Settings
from app.store import lmdb_staging, open_store
from tests.amounts import times
from tests.store import contributor, writer
from tests.store.changes import saved, state_of
from tests.store.ledgers import waiting
from tests.store.places import place_at


@pytest.fixture(params=["lmdb", "lmdb, relaxed", "redis"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of each durable store, for this process and those that it starts."""
    monkeypatch.setenv("OPTIM_LMDB_SYNC", "relaxed" if "relaxed" in request.param else "full")
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else f"lmdb:{tmp_path / 'store'}"


def _killed_after(process: subprocess.Popen[bytes], acknowledged: int, seconds: float) -> int:
    """Kill the writer so many seconds after so many saves; return how many more were acknowledged."""
    assert process.stdout
    for _ in range(acknowledged):
        process.stdout.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    rest = process.stdout.read().split(b"\n")[:-1]
    process.wait()
    process.stdout.close()
    return len(rest)


@pytest.mark.parametrize("pieces", [1, 70])
@pytest.mark.long
async def test_acknowledged_saves_of_a_killed_writer_are_whole(shared_url: str, pieces: int) -> None:
    least = 0
    for _ in range(3 if pieces == 1 else 1):
        process = writer.start(shared_url, "killed", pieces)
        told = 1 + await asyncio.to_thread(_killed_after, process, 1, random.uniform(0.001, 0.1))
        async with open_store(Settings(store=shared_url)) as store:
            head = await store.load("killed")
            assert head
            assert head.version in {least + told, least + told + 1}
            least = head.version
            assert await state_of(store, head) == b"".join(writer.parts_of(head.version, pieces))
            rows = await store.history("killed", 0, 10_000)
            assert rows == [b"row %d" % step for step in range(1, head.version + 1)]


@pytest.mark.long
async def test_a_killed_writers_staged_pieces_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_at(f"lmdb:{tmp_path}")
    process = writer.start(place.url, "killed", 70)
    await asyncio.to_thread(_killed_after, process, 1, random.uniform(0.03, 0.1))
    async with place.store as store:
        monkeypatch.setattr(lmdb_staging, "STAGED_SECONDS", 0.0)
        await store.sweep()
        head = await store.load("killed")
        assert head
        assert set(await place.pieces("killed")) == {piece.name for piece in head.pieces}
        assert await state_of(store, head) == b"".join(writer.parts_of(head.version, 70))


@pytest.mark.parametrize("pieces", [1, 30])
@pytest.mark.long
async def test_a_killed_contributors_rounds_are_whole(
    shared_url: str, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_staging, "STAGED_SECONDS", 0.0)
    for _ in range(times(quick=1, whole=10)):
        process = contributor.start(shared_url, "killed", pieces)
        await asyncio.to_thread(_killed_after, process, 2, random.uniform(0.001, 0.1))
        place = place_at(shared_url)
        async with place.store as store:
            head, ledger = await store.load("killed"), await store.ledger("killed")
            assert head
            assert ledger
            rows = await store.history("killed", 0, 10_000)
            assert rows == [b"row %d" % step for step in range(1, head.version)]
            parts = writer.parts_of(head.version, pieces)
            assert await waiting(store, ledger) == (parts if ledger.pieces else [])
            assert ledger.version == 2 * head.version - (1 if ledger.pieces else 2)
            assert not ledger.pieces or ("killed", float(head.version)) in await store.due()


@pytest.mark.long
async def test_processes_that_save_one_session_lose_no_save(shared_url: str) -> None:
    async with open_store(Settings(store=shared_url)) as store:
        processes = [writer.start(shared_url, "shared", count=100) for _ in range(2)]
        heads = [await saved(store, session_id=f"own-{i:02}") for i in range(20)]
        told = [
            int(line) for process in processes for line in (await asyncio.to_thread(process.communicate))[0].split()
        ]
        assert sorted(told) == list(range(1, 201))
        head = await store.load("shared")
        assert head
        assert head.version == 200
        assert await state_of(store, head) == b"".join(writer.parts_of(200, 1))
        assert await store.history("shared", 0, 1000) == [b"row %d" % step for step in range(1, 201)]
        assert await store.list("tenant-1", 100) == [head, *heads[::-1]]
