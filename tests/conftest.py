"""Fixtures for all tests: Redis servers, stores, trials of requirements, and processes without numba."""

import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import hypothesis
import pytest

from tests.amounts import WHOLE
from tests.chaos.trial import Trial
from tests.command import Optim, typed
from tests.examples import examples
from tests.redis_cluster import RedisCluster
from tests.servers import RedisServer, Replica
from tests.stores import CLUSTER, STORES

hypothesis.settings.register_profile("unhurried", examples(quick=30, whole=500))
hypothesis.settings.load_profile("unhurried")

FAILED = pytest.StashKey[bool]()
LONGEST = "processors"
"""The folder of the longest tests, which run first."""


def pytest_configure() -> None:
    """Heed Ctrl-C, also in a job that a shell started in the background, where it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def without_numba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Hide numba, whose import takes half a second, from processes that tests start: both kernels give the same bits.

    Tests that need numba ask for `with_numba`. Yield PYTHONPATH as it was.
    """
    before = os.environ.get("PYTHONPATH", "")
    folder = tmp_path_factory.mktemp("without_numba")
    (folder / "numba.py").write_text('raise ImportError("hidden from the processes that tests start")')
    if not WHOLE:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    yield before
    os.environ["PYTHONPATH"] = before


@pytest.fixture
def with_numba(without_numba: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes that the test starts find numba."""
    monkeypatch.setenv("PYTHONPATH", without_numba)


@pytest.fixture
def optim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Optim:
    """Type a command; get its exit status, its output, and what it said on standard error."""
    for name in [name for name in os.environ if name.startswith("OPTIM_")]:
        monkeypatch.delenv(name)
    return partial(typed, monkeypatch, capsys)


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    """Give a check of a requirement its trial, which becomes a row of docs/reliability.md if the check passes."""
    [marker] = request.node.iter_markers("requirement")
    trial = Trial(" ".join(re.findall(r"\w+", request.node.name.removeprefix("test_").replace("_", " "))), marker.args)
    yield trial
    if not request.node.stash.get(FAILED, True):  # absent in an interrupted run
        trial.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start one Redis for all tests. Ask for `redis_url`, which empties it for each test."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Return the URL of an empty Redis."""
    with redis_server.client() as client:
        client.flushall()
        client.script_flush()
    return redis_server.url


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Start one cluster of three masters for all tests. Ask for `cluster_url`, which empties it for each test."""
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster")).start()
    yield cluster
    cluster.kill()


@pytest.fixture
def cluster_url(redis_cluster: RedisCluster) -> str:
    """Return the URL of an empty cluster."""
    redis_cluster.empty()
    return redis_cluster.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a Redis for one test, which may be killed and restarted without a loss."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, "--appendfsync", "always").start()
    yield server
    server.kill()


@pytest.fixture
def replica(own_redis: RedisServer, tmp_path: Path) -> Iterator[Replica]:
    """Start a replica of the test's own Redis."""
    (tmp_path / "replica").mkdir()
    with own_redis.client() as admin:
        admin.config_set("repl-diskless-sync-delay", 0)
    server = Replica(tmp_path / "replica", own_redis).start().follow()
    yield server
    server.kill()


@pytest.fixture(params=[*STORES, *([pytest.param(CLUSTER, marks=pytest.mark.campaign)] if WHOLE else [])])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of each store in turn, empty."""
    if request.param == CLUSTER:
        return str(request.getfixturevalue("cluster_url"))
    return STORES[request.param](tmp_path, lambda: str(request.getfixturevalue("redis_url")))
