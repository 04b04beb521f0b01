"""A Redis that a backup reads: all tenants, and no change."""

import time

import pytest

from app.settings import Settings
from app.store import redis_source
from app.store.base import IncompatibleStore
from app.store.formats import STORE_FORMAT
from app.store.keys import Claim, key_digest
from app.store.redis_names import FORMAT_KEY, created_key
from app.store.redis_source import RedisSource
from app.store.snapshot import About, frames_of
from tests.store.changes import saved
from tests.store.places import RedisPlace


def source_of(place: RedisPlace) -> RedisSource:
    return RedisSource.from_settings(Settings(store=place.url))


async def test_sessions_of_all_tenants_are_found(redis_place: RedisPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_source, "PAGE", 2)
    expected = [About.of(f"{n}", f"tenant {n % 2}") for n in range(7)]
    for about in expected:
        await saved(redis_place.store, session_id=about.session_id, tenant=about.tenant or "")
    async with source_of(redis_place) as source:
        assert source.format == STORE_FORMAT
        assert sorted([about async for about in source.sessions()]) == expected


async def test_claims_have_their_sessions_creation(redis_place: RedisPlace) -> None:
    claims = [Claim("tenant-1", key_digest(f"{n}"), f"session-{n}", key_digest("request"), 1.5) for n in range(3)]
    for claim in claims:
        await redis_place.store.claim(claim)
    await saved(redis_place.store, session_id="session-1", claimed=True)
    async with source_of(redis_place) as source:
        frames = [frame async for member in source.claims() for frame in frames_of(member)]
    assert sorted(frame.body for frame in frames) == sorted(claim.encode() for claim in claims)
    created = {frame.values[2]: frame.values[3] for frame in frames}
    assert created[claims[0].key] is None
    assert created[claims[1].key] == float(redis_place.client.get(created_key("session-1")) or 0)
    assert abs(created[claims[1].key] - time.time()) < 60


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (str(STORE_FORMAT + 1), "run the newer version"),
        ("another", "is not of this service"),
        ("restoring abc", "a restore into this Redis is not done: run `optim restore`"),
    ],
)
async def test_a_redis_that_cannot_be_read_is_refused(redis_place: RedisPlace, mark: str, words: str) -> None:
    redis_place.client.set(FORMAT_KEY, mark)
    with pytest.raises(IncompatibleStore, match=words):
        await source_of(redis_place).__aenter__()
