"""The mark of a Redis database."""

import pytest
from redis import Redis

from app.settings import Settings
from app.store import open_store
from app.store.base import IncompatibleStore
from app.store.formats import STORE_FORMAT


@pytest.mark.parametrize(
    ("mark", "message"), [(b"%d" % (STORE_FORMAT + 1), "of a newer version"), (b"x", "not of this service")]
)
async def test_a_newer_or_foreign_redis_is_refused(redis_url: str, mark: bytes, message: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set("optim:format", mark)
    with pytest.raises(IncompatibleStore, match=message):
        await open_store(Settings(store=redis_url)).open()
