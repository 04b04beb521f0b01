"""Restores of backups: the same store again, of the same kind or another."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from app.backup.manifest import NoBackup
from app.errors import StoreUnavailable
from app.store.base import Head, IncompatibleStore
from app.store.formats import STORE_FORMAT
from app.store.keys import Claim, key_digest
from tests.backup.filled import SESSIONS, backed_up, content, made, opened, restored
from tests.servers import RedisServer
from tests.store.changes import saved, state_of, used
from tests.upgrade.make import FOLDER
from tests.upgrade.stored import KINDS


@pytest.mark.long
async def test_a_store_comes_back_to_the_byte_through_any_kind(
    source_url: str, target_url: str, folder: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    await made(source_url)
    before = content(source_url)
    assert (await backed_up(source_url, folder)).sessions == SESSIONS
    assert content(source_url) == before
    done = await restored(folder, target_url)
    assert (done.sessions, done.expired, done.claims_left_out) == (SESSIONS, 0, 0)
    await backed_up(target_url, tmp_path / "second")
    back = f"lmdb:{tmp_path / 'back'}"
    if source_url == redis_server.url:
        back = source_url
        with redis_server.client() as client:
            client.flushall()
    await restored(tmp_path / "second", back)
    assert content(back) == before


@pytest.mark.long
async def test_a_store_comes_back_to_the_byte_through_a_cluster(
    cluster_url: str, redis_url: str, folder: Path, tmp_path: Path
) -> None:
    await made(redis_url)
    before = content(redis_url)
    await backed_up(redis_url, folder)
    assert (await restored(folder, cluster_url)).sessions == SESSIONS
    await backed_up(cluster_url, tmp_path / "second")
    with Redis.from_url(redis_url) as client:
        client.flushall()
    await restored(tmp_path / "second", redis_url)
    assert content(redis_url) == before


async def test_restored_sessions_go_on(source_url: str, target_url: str, folder: Path) -> None:
    await made(source_url)
    await backed_up(source_url, folder)
    await restored(folder, target_url)
    async with opened(target_url) as store:
        head = await store.load("plain")
        assert head
        assert await state_of(store, head) == b"onestep 4"
        assert await store.used("plain", key_digest("key 0")) == b"row of key 0"
        assert await store.history("plain", 0, 10) == [b"row %d" % n for n in range(1, 6)]
        assert len(head.earlier) == 2
        head = await saved(store, head, used=[used("new")])
        assert await state_of(store, head) == b"onetwo"
        ledger = await store.ledger("working")
        assert ledger
        assert [bytes(data) for data in await store.contents(ledger, ledger.pieces)] == [b"waits", b"too"]
        assert [due for due in await store.due() if due.session_id == "working"] == [("working", 1234.5)]
        claim = Claim("tenant-1", key_digest("creates"), "another", key_digest("request"), time.time())
        assert (await store.claim(claim)).session_id == "claimed"
        listed = [[head.session_id for head in await store.list(name, 10)] for name in ("tenant-1", "tenant 2")]
        assert listed == [["working", "plain", "mortal", "long", "large", "claimed"], ["other"]]
        assert await store.sweep() == 0


async def test_a_mortal_session_still_expires(
    source_url: str, target_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(source_url) as store:
        await saved(store, session_id="mortal", expires_at=time.time() + 600)
        await saved(store, session_id="old", expires_at=time.time() + 5)
        await saved(store, session_id="lasting")
    await backed_up(source_url, folder)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 10)
    done = await restored(folder, target_url)
    assert (done.sessions, done.expired) == (2, 1)
    async with opened(target_url) as store:
        assert await store.load("old") is None
        assert await store.load("mortal")
        monkeypatch.setattr(time, "time", lambda: right() + 700)
        assert await store.load("mortal") is None
        assert await store.load("lasting")


async def test_a_store_with_sessions_is_refused(source_url: str, target_url: str, folder: Path) -> None:
    await made(source_url)
    await backed_up(source_url, folder)
    async with opened(target_url) as store:
        await saved(store, session_id="dear")
    before = content(target_url)
    with pytest.raises(StoreUnavailable, match="is not empty, and nothing is overwritten"):
        await restored(folder, target_url)
    assert content(target_url) == before


@pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: data[:5000] + b"?" + data[5001:]])
async def test_a_changed_backup_writes_nothing(
    tmp_path: Path, folder: Path, harm: Callable[[bytes], bytes], target_url: str
) -> None:
    await made(f"lmdb:{tmp_path / 'source'}")
    await backed_up(f"lmdb:{tmp_path / 'source'}", folder)
    file = folder / "sessions-0001.tar"
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(NoBackup, match=r"is not as it was written|cannot be read"):
        await restored(folder, target_url)
    assert not (tmp_path / "target").exists()
    async with opened(target_url) as store:
        assert await store.list("tenant-1", 10) == []


async def test_a_backup_of_a_newer_store_is_refused(tmp_path: Path, folder: Path, target_url: str) -> None:
    await made(f"lmdb:{tmp_path / 'source'}")
    await backed_up(f"lmdb:{tmp_path / 'source'}", folder)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"store_format": 2', f'"store_format": {STORE_FORMAT + 1}'))
    with pytest.raises(IncompatibleStore, match="run the newer version"):
        await restored(folder, target_url)


async def test_claims_of_unnamed_tenants_are_counted(tmp_path: Path, folder: Path, redis_url: str) -> None:
    async with opened(f"lmdb:{tmp_path / 'source'}") as store:
        await store.claim(Claim("gone", key_digest("a"), "session-1", key_digest("request"), time.time()))
    await backed_up(f"lmdb:{tmp_path / 'source'}", folder)
    assert (await restored(folder, redis_url)).claims_left_out == 1
    assert (await restored(folder, f"lmdb:{tmp_path / 'target'}")).claims_left_out == 0


@pytest.mark.parametrize("form", ["format-1", "format-2"])
async def test_a_store_of_an_earlier_format_is_restored(
    form: str, source_url: str, target_url: str, folder: Path, tmp_path: Path
) -> None:
    kind = source_url.partition(":")[0]
    (tmp_path / "source").mkdir()
    KINDS[kind].write(source_url, json.loads((FOLDER / form / f"{kind}.json").read_text()))
    manifest = await backed_up(source_url, folder)
    assert (manifest.damaged, manifest.store_format) == ((), int(form.removeprefix("format-")))
    assert (await restored(folder, target_url)).sessions == manifest.sessions > 5
    async with opened(target_url) as store:
        for head in await store.list("default", 100):
            assert isinstance(head, Head)
            await state_of(store, head)
