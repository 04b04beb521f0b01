"""The choice of tests by `make watch`."""

import pytest

from tests.watch import ROOT, choose

TESTS = {
    "tests/store/test_redis.py": "from app.store.redis import RedisStore",
    "tests/store/test_redis_pool.py": "import app.store.redis_pool",
    "tests/client/test_lane.py": "from optim_client._lane import Lane",
    "tests/service/test_open.py": "from app.store import base, open_store",
    "tests/docs/test_reference.py": 'read("docs/api.md")',
}


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("tests/store/test_redis.py", ["tests/store/test_redis.py"]),
        ("app/store/redis.py", ["tests/store/test_redis.py", "tests/store/test_redis_pool.py"]),
        ("app/store/base.py", ["tests/service/test_open.py"]),
        ("app/store/redis_pool.py", ["tests/store/test_redis_pool.py"]),
        ("clients/python/optim_client/_lane.py", ["tests/client/test_lane.py"]),
        (
            "app/store/__init__.py",
            ["tests/store/test_redis.py", "tests/store/test_redis_pool.py", "tests/service/test_open.py"],
        ),
        ("docs/api.md", ["tests/docs/test_reference.py"]),
        ("docs/stores.md", []),
    ],
)
def test_a_file_has_the_tests_that_name_it(name: str, chosen: list[str]) -> None:
    assert choose(name, TESTS) == chosen


def test_the_watcher_has_this_test() -> None:
    tests = {"tests/test_watch.py": (ROOT / "tests/test_watch.py").read_text("utf-8")}
    assert choose("tests/watch.py", tests) == ["tests/test_watch.py"]
