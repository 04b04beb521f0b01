"""Full and failing stores: a 503, an unchanged state, and normal work once there is room."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from optim_client._protocol import Request, Response

from tests.bodies import encode
from tests.chaos.full import KINDS, Full, full_server
from tests.chaos.trial import Trial
from tests.chaos.works import BINARY
from tests.durability.twin import Twin
from tests.durability.wire import JSON, Wire, code_of

LARGE = 1400
"""Rows: a state of 6.7 MB, whose pieces are saved while the step is computed."""
SECONDS = 30.0
"""Redis checks every second whether it can write its file again."""


@pytest.mark.requirement("R8")
def test_a_full_store_refuses_and_recovers(trial: Trial, tmp_path: Path) -> None:
    for name in trial.random.sample(sorted(KINDS), trial.times(quick=1, whole=len(KINDS))):
        folder = tmp_path / name
        folder.mkdir()
        with full_server(KINDS[name], folder) as full, Wire(full.server.port) as wire:
            twins = [Twin(wire, hold_params=False), Twin(wire, hold_params=True, rows=LARGE)]
            for _ in range(trial.times(quick=1, whole=10)):
                fill_and_free(full, wire, twins, trial)
                trial.tried[f"times a full {name}"] += 1
            full.restart()
            wire.close()
            for twin in twins:
                twin.check(wire)


def fill_and_free(full: Full, wire: Wire, twins: list[Twin], trial: Trial) -> None:
    for twin in twins:
        twin.take(wire.send(twin.request()))
    full.fill()
    fillers = filled(wire, trial)
    assert full.something_fits or not full.server.is_ready(timeout=2)
    for twin in twins:
        answer = tried(wire, twin.request(), trial)
        if answer.status == 200:
            twin.take(answer)
        twin.check(wire)
    if not full.deleting_makes_room:
        full.free()
    for filler in fillers:
        deleted = until_taken(wire, Request("DELETE", filler))
        assert deleted.status == 204, deleted.body
    for twin in twins:
        twin.take(until_taken(wire, twin.request()))
        twin.check(wire)
    full.free()
    assert full.server.is_ready(timeout=2)


def filled(wire: Wire, trial: Trial) -> list[str]:
    """Create sessions until the store is full; return their paths."""
    fillers: list[str] = []
    settings = json.dumps({"optimizer": "adamw", "hold_params": True}).encode()
    params = encode({"params": {"w": np.ones(1 << 20, np.float32)}}, {})
    while True:
        made = tried(wire, Request("POST", "/v1/sessions", headers=JSON, body=settings), trial)
        if made.status != 201:
            return fillers
        fillers.append(f"/v1/{made.headers['location']}")
        if tried(wire, Request("PUT", f"{fillers[-1]}/params", headers=BINARY, body=params), trial).status != 204:
            return fillers


def tried(wire: Wire, request: Request, trial: Trial) -> Response:
    """Return the answer, which must be a success or a store failure."""
    answer = wire.send(request)
    trial.tried[f"answers {answer.status}"] += 1
    if not 200 <= answer.status < 300:
        assert (answer.status, code_of(answer)) == (503, "store_unavailable"), answer.body
        assert int(answer.headers["retry-after"]) > 0
    return answer


def until_taken(wire: Wire, request: Request) -> Response:
    """Retry until the answer is no 503; return it."""
    deadline = time.monotonic() + SECONDS
    while (answer := wire.send(request)).status == 503 and time.monotonic() < deadline:
        time.sleep(0.01)
    return answer
