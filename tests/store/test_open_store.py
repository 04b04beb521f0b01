"""The table of stores, and the URLs that name them."""

import pytest
from pydantic import ValidationError
from redis.asyncio.connection import SSLConnection

from app.settings import Settings
from app.store import STORES, open_store
from app.store.lmdb import LmdbStore
from app.store.memory import MemoryStore
from app.store.redis import RedisStore
from tests import stores
from tests.store.places import PLACES


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("lmdb:/var/lib/optim", LmdbStore),
        ("lmdb:relative/path", LmdbStore),
        ("redis://localhost", RedisStore),
        ("redis://user:p%40ss@localhost:6380/3", RedisStore),
        ("redis://[::1]:6379/0?db=2", RedisStore),
        ("rediss://cache.example:6380/0?ssl_check_hostname=no", RedisStore),
        ("unix:///run/redis.sock?db=1", RedisStore),
        ("redis+sentinel://user:p%40ss@a:7000,b/service/3", RedisStore),
        ("rediss+sentinel://a/service?ssl_check_hostname=no", RedisStore),
        ("redis+cluster://user:p%40ss@a:7000,b:7001", RedisStore),
        ("rediss+cluster://[::1],b/0?ssl_check_hostname=no", RedisStore),
    ],
)
async def test_a_url_names_its_store(url: str, kind: type) -> None:
    store = open_store(Settings(store=url, history_limit=7))
    assert type(store) is kind
    assert store.history_limit == 7
    await store.close()


def test_every_store_is_tested() -> None:
    assert {STORES[name] for name in stores.STORES} == set(STORES.values())
    assert len(stores.STORES) == len(set(STORES.values()))
    assert PLACES.keys() == {*stores.STORES, stores.CLUSTER}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory:something", "nothing may follow memory:"),
        ("lmdb:\0", "give it in one line"),
        ("lmdb:~nobody-of-that-name/x", "home directory"),
        ("redis://", "must be redis://"),
        ("redis:localhost", "must be redis://"),
        ("redis://localhost:secret", "must be redis://"),
        ("redis://:secret", "must be redis://"),
        ("redis://u:secret@localhost/first", "must be redis://"),
        ("redis://u:secret@localhost?db=first", "must be redis://"),
        ("redis://localhost?", None),
        ("redis://u:secret@localhost?socket_timeout=5", "socket_timeout is not taken from the URL"),
        ("redis://localhost?retry_on_timeout=yes", "retry_on_timeout is not taken from the URL"),
        ("redis://localhost?ssl_nonsense=1", "ssl_nonsense"),
        ("rediss://localhost?ssl_nonsense=1", "ssl_nonsense"),
        ("rediss://localhost?ssl_cert_reqs=nonsense", "nonsense"),
        ("unix://", "unix:///path"),
        ("redis+sentinel://u:secret@a", "/SERVICE"),
        ("redis+cluster://u:secret@a,b/1", "a cluster has only database 0"),
        ("rediss+cluster://u:secret@a?ssl_nonsense=1", "ssl_nonsense"),
    ],
)
def test_a_refused_url_never_shows_its_password(url: str, message: str | None) -> None:
    if message is None:
        open_store(Settings(store=url))
        return
    with pytest.raises(ValueError, match=message) as refusal:
        open_store(Settings(store=url))
    assert "secret" not in str(refusal.value)


def test_the_settings_and_the_table_know_the_same_schemes() -> None:
    for scheme in STORES:
        Settings(store=f"{scheme}:" if scheme == "memory" else f"{scheme}:///tmp/x")
    with pytest.raises(ValidationError, match="lmdb:PATH, redis://"):
        Settings(store="sqlite:x")
    with pytest.raises(ValueError, match="unknown scheme 'sqlite'; expected one of lmdb, redis, rediss, unix, redis"):
        open_store(Settings.model_construct(store="sqlite:x"))


def test_rediss_is_tls() -> None:
    store = open_store(Settings(store="rediss://cache.example"))
    assert isinstance(store, RedisStore)
    assert store._redis.pool._connection_class is SSLConnection
