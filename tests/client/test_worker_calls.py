"""The calls of workers and rounds: their requests, and what is read of each answer."""

import json
from datetime import UTC, datetime

import pytest
from optim_client import Contribution, RoundInfo, WorkerInfo, _worker_calls
from optim_client._protocol import Response

TIME = "2026-11-20T12:00:01.500000Z"


def answered(document: object) -> Response:
    return Response(200, {"content-type": "application/json"}, json.dumps(document).encode())


def test_names_and_numbers_are_parts_of_a_path() -> None:
    assert _worker_calls.leave("s", "gpu/3", 7).request.path == "/v1/sessions/s/workers/gpu%2F3"
    assert _worker_calls.leave("s", "gpu-3", 7).request.query == {"epoch": 7}
    assert _worker_calls.read_round("s", 42, wait=5).request.query == {"wait": 5}
    assert _worker_calls.close_round("s", 42).request.path == "/v1/sessions/s/rounds/42/close"
    with pytest.raises(TypeError, match=r"number must be a whole number, not 1\.5"):
        _worker_calls.read_round("s", 1.5)  # type: ignore[arg-type]


def test_each_join_has_a_key_of_its_own() -> None:
    first, second = _worker_calls.join("s", "a").request, _worker_calls.join("s", "a").request
    assert first.body == b"{}"
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_workers_are_read_with_their_times() -> None:
    one = {"worker": "a", "epoch": 7, "lease_expires_at": TIME, "last_round": 4, "last_contribution_at": TIME}
    two = {"worker": "b", "epoch": 8, "lease_expires_at": TIME, "last_round": None, "last_contribution_at": None}
    rest = {"lateness_seconds": 0.25, "member_of_tomorrow": 1}
    time = datetime(2026, 11, 20, 12, 0, 1, 500000, tzinfo=UTC)
    assert _worker_calls.workers("s").read(answered({"workers": [one | rest, two]})) == [
        WorkerInfo("a", 7, time, 4, time, 0.25),
        WorkerInfo("b", 8, time, None, None, None),
    ]


def test_a_round_is_read_with_the_fates() -> None:
    fates = [
        {"worker": "a", "epoch": 7, "weight": 2.0, "norm": 5.0, "fate": "applied", "clip_scale": 0.5},
        {"worker": "b", "epoch": 6, "weight": 1.0, "norm": "Infinity", "fate": "dropped", "reason": "non_finite"},
        {"worker": "c", "weight": 1.0, "fate": None, "member_of_tomorrow": 1},
    ]
    members = {"round": 4, "state": "open", "have": 1, "need": 0, "closes_at": TIME, "step": None, "digest": None}
    assert _worker_calls.read_round("s", 4).read(answered({**members, "contributions": fates})) == RoundInfo(
        4, "open", 1, 0, datetime(2026, 11, 20, 12, 0, 1, 500000, tzinfo=UTC), None, None,
        (
            Contribution("a", 4, "applied", None, 7, 2.0, 5.0, clip_scale=0.5),
            Contribution("b", 4, "dropped", "non_finite", 6, 1.0, float("inf")),
            Contribution("c", 4, None),
        ),
    )  # fmt: skip
