"""Tampered bodies: accepted, or refused with a typed 4xx; no 5xx, no traceback, no growing memory."""

from pathlib import Path

import psutil
import pytest
from optim_client import _protocol

from app.main import create_app
from app.settings import Settings
from tests.amounts import WHOLE
from tests.chaos.assault import Answer, Assault, directly
from tests.chaos.mutation import Request
from tests.chaos.trial import Trial
from tests.durability.processes import servers
from tests.durability.wire import Wire

MOST_GROWTH = 32 << 20
"""Bytes of memory, from a quarter of the requests to their end: room for fragmentation, but not for a leak of a few
dozen bytes a request."""
SLOWEST_SECONDS = 2.0


async def attacked(assault: Assault, requests: int, process: psutil.Process, trial: Trial) -> None:
    """Send that many requests, and check the statuses and the process's memory."""
    await assault.run(requests // 4)
    before = process.memory_info().rss
    await assault.run(requests - requests // 4)
    growth = process.memory_info().rss - before
    for status, count in sorted(assault.statuses.items()):
        assert status < 500
        trial.tried[f"answers {status}"] += count
    assert assault.statuses.keys() >= {200, 201, 204, 400, 422}
    trial.measured["slowest answer"] = f"{assault.slowest * 1000:.0f} ms"
    trial.measured["growth of memory"] = f"{growth / (1 << 20):.1f} MiB"
    assert growth < MOST_GROWTH
    assert not WHOLE or assault.slowest < SLOWEST_SECONDS


@pytest.mark.requirement("R10")
async def test_tampered_bodies_in_process_are_accepted_or_refused(trial: Trial) -> None:
    app = create_app(Settings(store="memory:"))
    async with app.router.lifespan_context(app):
        requests = trial.times(quick=3_000, whole=1_000_000)
        await attacked(Assault(directly(app), trial.random), requests, psutil.Process(), trial)


@pytest.mark.requirement("R10")
async def test_tampered_bodies_over_http_are_accepted_or_refused(trial: Trial, tmp_path: Path) -> None:
    with servers([f"lmdb:{tmp_path / 'store'}"], tmp_path) as [server], Wire(server.port) as wire:

        async def ask(request: Request) -> Answer:
            headers = {"content-type": request.media_type}
            answer = wire.send(_protocol.Request(request.method, request.path, headers=headers, body=request.body))
            return Answer(answer.status, answer.headers, answer.body)

        requests = trial.times(quick=800, whole=50_400)
        await attacked(Assault(ask, trial.random), requests, psutil.Process(server.pid), trial)
        assert server.is_ready()
    assert "Traceback" not in server.log()
    assert "request failed" not in server.log()
