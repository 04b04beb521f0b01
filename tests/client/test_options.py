"""The options of a client: its timeout, and the limits of its retries."""

import math
from typing import Any

import httpx2
import numpy as np
import pytest
from optim_client._protocol import Patience

from tests.client.conftest import Connect
from tests.client.scripted import BUSY, SESSION_ANSWER, ScriptedServer


def test_options_are_for_the_copy_alone(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, BUSY, BUSY, SESSION_ANSWER) as server:
        client = connect(server.url)
        hasty = client.with_options(max_retries=0)
        hasty.sessions.get("s-1")
        with pytest.raises(Exception, match="busy"):
            hasty.sessions.get("s-1")
        assert client.sessions.get("s-1").id == "s-1"
        assert (client.retry_seconds, client.max_retries, client.timeout) == (120, None, httpx2.Timeout(60, connect=5))
        assert (hasty.retry_seconds, hasty.max_retries, hasty.timeout) == (math.inf, 0, client.timeout)


@pytest.mark.parametrize(
    ("options", "patience"),
    [
        ({}, Patience(120)),
        ({"max_retries": 5}, Patience(math.inf, 5)),
        ({"retry_seconds": 600}, Patience(600)),
        ({"retry_seconds": 60, "max_retries": 5}, Patience(60, 5)),
        ({"retry_seconds": 0}, Patience(0)),
        ({"retry_seconds": np.float32(5), "max_retries": np.int64(2)}, Patience(5, 2)),
        ({"retry_seconds": math.inf}, Patience(math.inf)),
    ],
)
def test_a_client_retries_for_a_time_or_a_count(
    connect: Connect, options: dict[str, float], patience: Patience
) -> None:
    assert connect("http://127.0.0.1:1", **options).patience == patience
    client = connect("http://127.0.0.1:1", max_retries=9, retry_seconds=9)
    assert client.with_options(**options).patience == (patience if options else Patience(9, 9))


@pytest.mark.parametrize(
    "bad",
    [
        {"max_retries": -1},
        {"retry_seconds": -1},
        {"retry_seconds": math.nan},
        {"retry_seconds": "a"},
        {"max_retries": "a"},
    ],
)
def test_limits_below_zero_are_refused(connect: Connect, bad: dict[str, Any]) -> None:
    [(name, value)] = bad.items()
    with pytest.raises(ValueError, match=f"{name} must be 0 or more, not {value!r}"):
        connect("http://127.0.0.1:1", **bad)
    with pytest.raises(ValueError, match="must be 0 or more"):
        connect("http://127.0.0.1:1").with_options(**bad)


@pytest.mark.parametrize("bad", [0, -1, math.nan, "x", httpx2.Timeout(5, connect=0)])
def test_a_timeout_that_is_not_above_zero_is_refused(connect: Connect, bad: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be above 0 seconds, not "):
        connect("http://127.0.0.1:1", timeout=bad)
    with pytest.raises(ValueError, match="timeout must be above 0 seconds, not "):
        connect("http://127.0.0.1:1").with_options(timeout=bad)


def test_a_timeout_of_none_waits_for_ever(connect: Connect) -> None:
    assert connect("http://127.0.0.1:1", timeout=httpx2.Timeout(None)).timeout.read is None
