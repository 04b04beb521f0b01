import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.trial import WHOLE, Trial
from tests.servers import RedisServer
from tests.stores import STORES

FAILED = pytest.StashKey[bool]()
LONGEST = "processors"
"""The folder whose tests take so long that they begin first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def without_numba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Processes that a test starts find no numba, which takes half a second to import: both kernels give the same bits.
    Ask for `with_numba` where it matters."""
    before = os.environ.get("PYTHONPATH", "")
    folder = tmp_path_factory.mktemp("without_numba")
    (folder / "numba.py").write_text('raise ImportError("hidden from the processes that tests start")')
    if not WHOLE:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    yield before
    os.environ["PYTHONPATH"] = before


@pytest.fixture
def with_numba(without_numba: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", without_numba)


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    """What a check of a requirement tries and finds; a row of docs/reliability.md, if it passes."""
    [marker] = request.node.iter_markers("requirement")
    trial = Trial(" ".join(re.findall(r"\w+", request.node.name.removeprefix("test_").replace("_", " "))), marker.args)
    yield trial
    if not request.node.stash.get(FAILED, True):  # nothing is there where the run was interrupted
        trial.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests: ask for `redis_url`, which is empty at the start of each."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    with redis_server.client() as client:
        client.flushall()
        client.script_flush()
    return redis_server.url


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for this test alone: it may be killed and started again, and has then all that it answered."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, "--appendfsync", "always").start()
    yield server
    server.kill()


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of each store in turn, empty."""
    return STORES[request.param](tmp_path, lambda: str(request.getfixturevalue("redis_url")))
