from collections.abc import AsyncIterator

import pytest

from app.store.base import Store
from tests import redis_user
from tests.store.places import Place, RedisPlace, place_at


@pytest.fixture
def redis_url(redis_url: str) -> str:
    """As the least user: whatever the store does, that user may do."""
    return redis_user.made(redis_url)


@pytest.fixture
async def place(store_url: str) -> AsyncIterator[Place]:
    """Each store in turn, open and empty, with a way to look behind it. Keeps five rows of history."""
    place = place_at(store_url, history_limit=5, store_timeout_seconds=10)
    async with place.store:
        yield place
    if isinstance(place, RedisPlace):
        place.client.close()


@pytest.fixture
def store(place: Place) -> Store:
    store: Store = place.store
    return store
