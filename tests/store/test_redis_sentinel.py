"""A Redis whose primary is named by sentinels, and its failover."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store
from app.store.redis_sentinel import is_sentinel
from tests.redis_cluster import command
from tests.sentinels import DOWN_MS, SERVICE, SentinelServer, Watched
from tests.servers import RedisServer, free_port
from tests.store.changes import saved
from tests.store.savers import Savers

FAILOVER_SECONDS = DOWN_MS / 1000 + 8


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Start a primary with a replica and a sentinel. The last test kills the primary."""
    watched = Watched(tmp_path_factory.mktemp("watched")).start()
    yield watched
    watched.kill()


def test_only_an_address_of_sentinels_is_one() -> None:
    assert is_sentinel("rediss+sentinel://a/s")
    assert not is_sentinel("redis://sentinel")


@pytest.mark.long
async def test_a_service_that_no_sentinel_knows_is_refused(watched: Watched) -> None:
    store = open_store(Settings(store=watched.url().replace("/optim", "/other")))
    with pytest.raises(StoreUnavailable, match="the sentinels in OPTIM_STORE do not know 'other'"):
        await store.open()


async def test_sentinels_that_are_all_away_are_named() -> None:
    store = open_store(Settings(store=f"redis+sentinel://127.0.0.1:{free_port()}/optim"))
    with pytest.raises(StoreUnavailable, match="the sentinels in OPTIM_STORE cannot be reached"):
        await store.open()


async def test_sentinels_that_ask_get_the_password_of_redis(own_redis: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "sentinel").mkdir()
    sentinel = SentinelServer(tmp_path / "sentinel", own_redis).start()
    try:
        command(sentinel, "SENTINEL", "SET", SERVICE, "auth-pass", "secret")
        for server in (own_redis, sentinel):
            command(server, "ACL", "SETUSER", "default", "resetpass", ">secret")
        url = "redis+sentinel://%s127.0.0.1:%d/optim"
        async with open_store(Settings(store=url % (":secret@", sentinel.port))) as trusted:
            assert await saved(trusted)
        for user in ("", ":wrong@"):
            with pytest.raises(StoreUnavailable, match=r"sentinels in OPTIM_STORE ask for .*USER:PASSWORD@") as refused:
                await open_store(Settings(store=url % (user, sentinel.port))).open()
            assert "wrong" not in str(refused.value)
    finally:
        sentinel.kill()


async def test_a_failover_is_followed_by_every_session(watched: Watched) -> None:
    dead = f"127.0.0.1:{free_port()}"
    async with open_store(Settings(store=watched.url(dead, dead))) as store:
        savers = Savers(store, 4)
        async with savers:
            await savers.until_saved(5)
            watched.primary.kill()
            await savers.until_saved(2, within=FAILOVER_SECONDS)
        await savers.check()
        assert {failure.status for failure in savers.failures} == {503}
