"""The seam below the store: one Redis and a cluster do the same with the same commands."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.store.base import IncompatibleStore
from app.store.redis_client import Client, Refused
from app.store.redis_cluster import Cluster
from app.store.redis_commands import Commands
from app.store.redis_scripts import Script
from tests import redis_user

KINDS: dict[str, Any] = {"redis_url": Client, "cluster_url": Cluster}
READ = Script("return {redis.call('GET', KEYS[1]), ARGV[1]}")
NAMES = [f"{i}" for i in range(20)]


@pytest.fixture(params=KINDS)
async def commands(request: pytest.FixtureRequest) -> AsyncIterator[Commands]:
    """Lend each kind in turn, open."""
    commands: Commands = KINDS[request.param](request.getfixturevalue(request.param), 5)
    commands.open()
    yield commands
    await commands.close()


async def test_answers_come_in_order(commands: Commands) -> None:
    await commands.ask(*(("SET", f"optim:{name}", name) for name in NAMES))
    found = await commands.ask(*(("GET", f"optim:{name}") for name in NAMES), at_once_within=1)
    assert found == [name.encode() for name in NAMES]


async def test_an_error_is_refused(commands: Commands) -> None:
    with pytest.raises(Refused, match="WRONGTYPE"):
        await commands.ask(("ZADD", "optim:s", 1, "x"), ("GET", "optim:s"))


async def test_a_script_runs_between_its_neighbours(commands: Commands) -> None:
    for _ in range(2):  # the second time by its name
        answer = await commands.run(READ, ["optim:s"], ("x",), [("SET", "optim:s", "1")], [("SET", "optim:s", "2")])
        assert answer == [b"1", b"x"]
        assert await commands.ask(("GET", "optim:s")) == [b"2"]


async def test_a_script_comes_after_its_upload(commands: Commands) -> None:
    upload = commands.upload()
    for name in NAMES:
        upload.put(("SET", f"optim:{name}", memoryview(name.encode() * 20_000)))
    assert await commands.run(READ, ["optim:7"], ("x",), upload=upload) == [b"7" * 20_000, b"x"]


async def test_the_servers_have_all_keys(commands: Commands) -> None:
    await commands.ask(*(("SET", f"optim:{name}", name) for name in NAMES))
    found = [await server.ask(("SCAN", 0, "MATCH", "optim:*", "COUNT", 1000)) for server in commands.servers]
    assert sum(len(keys) for ((_, keys),) in found) == len(NAMES)


@pytest.mark.parametrize(("fixture", "other"), [*zip(KINDS, reversed(KINDS.values()), strict=True)])
async def test_the_other_kind_is_refused_by_name(request: pytest.FixtureRequest, fixture: str, other: Any) -> None:
    url = redis_user.admin_s(request.getfixturevalue(fixture))
    url = url.partition(",")[0].replace("+cluster", "") if other is Client else url.replace("redis:", "redis+cluster:")
    commands = other(url, 5)
    commands.open()
    with pytest.raises(IncompatibleStore, match=r"is (a|no) cluster: write redis(\+cluster)?:// in OPTIM_STORE"):
        await commands.check()
    await commands.close()
