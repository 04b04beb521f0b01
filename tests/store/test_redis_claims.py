"""The claims in Redis: one hash a tenant."""

import time

import pytest
from redis import Redis

from app.store.keys import Claim, key_digest
from tests.store.changes import DAY
from tests.store.places import RedisPlace


async def test_a_claim_is_a_field_of_its_tenants_hash(redis_place: RedisPlace, redis: Redis) -> None:
    claim = Claim("tenant-1", key_digest("a"), "session-1", "request", 1.5)
    await redis_place.store.claim(claim)
    assert redis.hgetall("optim:claims:tenant-1") == {claim.key.encode(): claim.encode()}
    assert redis.smembers("optim:tenants") == {b"tenant-1"}


@pytest.mark.long
async def test_a_sweep_goes_through_a_large_hash(redis_place: RedisPlace, redis: Redis) -> None:
    for i in range(1200):
        age = 2 * DAY if i % 2 else 0.0
        claim = Claim("tenant-1", key_digest(f"{i}"), f"session-{i}", "request", time.time() - age)
        redis.hset("optim:claims:tenant-1", claim.key, claim.encode())
    redis.sadd("optim:tenants", "tenant-1")
    assert await redis_place.store.sweep() == 600
    assert redis.hlen("optim:claims:tenant-1") == 600


async def test_an_unreadable_claim_is_left_by_a_sweep(redis_place: RedisPlace, redis: Redis) -> None:
    redis.hset("optim:claims:tenant-1", key_digest("a"), "garbage")
    redis.sadd("optim:tenants", "tenant-1")
    assert await redis_place.store.sweep() == 0
    assert redis.hvals("optim:claims:tenant-1") == [b"garbage"]
