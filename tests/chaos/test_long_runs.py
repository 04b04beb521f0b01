"""Long runs: memory, descriptors and store stay flat, and a jumping wall clock harms nothing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.amounts import WHOLE
from tests.chaos.footprint import Footprint, Look, lmdb_look, looked, redis_look, thirds
from tests.chaos.lifetimes import CLIENTS, Lifetimes
from tests.chaos.shifted_clock import NAME, jump
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess
from tests.durability.twin import Twin
from tests.durability.wire import Wire, assert_replay
from tests.servers import RedisServer
from tests.stores import DURABLE

TTL_SECONDS = 1.0
SWEEP = "--sweep-seconds=0.25"
GONE_SECONDS = 30.0
"""The longest wait for an empty store, on a busy machine."""
MOST_GROWTH = 8 << 20
"""Bytes of memory, from the middle third to the last: 5 KiB for each of the 1,500 sessions between them."""
LIVES_FOR_AN_ENTRY = 10
"""One more entry of the store is allowed for so many sessions, because the number of live ones varies with the load."""
HOUR = 3600
LASTING = {"optimizer": "sgd", "ttl_seconds": 3 * HOUR}
"""A session that does not expire by jumps from an hour before to an hour after."""


@pytest.fixture(params=DURABLE)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Look]:
    """Return each store's URL in turn, and a function that measures it without the service."""
    if request.param == "lmdb":
        return f"lmdb:{tmp_path / 'store'}", lmdb_look(tmp_path / "store")
    server: RedisServer = request.getfixturevalue("own_redis")
    return server.url, redis_look(server)


@contextmanager
def serving(server: ServerProcess) -> Iterator[Wire]:
    server.start()
    try:
        with Wire(server.port) as wire:
            yield wire
    finally:
        server.kill()


@pytest.mark.requirement("R15")
def test_expired_sessions_leave_nothing(trial: Trial, place: tuple[str, Look], tmp_path: Path) -> None:
    url, look = place
    server = ServerProcess(url, tmp_path / "log", options=[SWEEP])
    with serving(server) as wire:
        before = looked(server.pid, look)
        with Lifetimes(server.port, TTL_SECONDS, trial.random) as lifetimes:
            samples = sampled(server.pid, look, trial.times(quick=1, whole=300))
        after = when_all_is_gone(server.pid, look)
        assert listed(wire) == []
    middle, last = thirds(samples)
    trial.tried["sessions that expired or were deleted"] += len(lifetimes.created)
    trial.tried["steps"] += lifetimes.steps
    trial.measured["memory, middle third and last"] = both(middle.memory >> 20, last.memory >> 20, "MiB")
    trial.measured["descriptors"] = both(middle.descriptors, last.descriptors)
    trial.measured["entries of the store"] = both(middle.entries, last.entries)
    trial.measured["its size"] = both(middle.store_bytes >> 20, last.store_bytes >> 20, "MiB")
    assert after.entries == 0
    assert after.descriptors <= before.descriptors + 2 * CLIENTS  # connections to Redis are kept
    if WHOLE:
        assert last.memory <= middle.memory + MOST_GROWTH
        assert last.descriptors <= middle.descriptors
        assert last.entries - middle.entries <= len(lifetimes.created) / 3 / LIVES_FOR_AN_ENTRY
        assert last.store_bytes <= 1.25 * middle.store_bytes


def sampled(pid: int, look: Look, seconds: float) -> list[Footprint]:
    samples, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        samples.append(looked(pid, look))
        time.sleep(0.2)
    return samples


def when_all_is_gone(pid: int, look: Look) -> Footprint:
    """Wait for an empty store, at most `GONE_SECONDS`; return the footprint."""
    deadline = time.monotonic() + GONE_SECONDS
    while (now := looked(pid, look)).entries and time.monotonic() < deadline:
        time.sleep(0.05)
    return now


def both(middle: int, last: int, unit: str = "") -> str:
    return f"{middle:,} and {last:,} {unit}".strip()


@pytest.mark.requirement("R15")
def test_a_clock_that_jumps_an_hour_harms_nothing(
    trial: Trial, place: tuple[str, Look], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = tmp_path / "clock"
    monkeypatch.setenv(NAME, str(clock))
    jump(clock, 0)
    server = ServerProcess(place[0], tmp_path / "log", module="tests.chaos.shifted_clock", options=[SWEEP])
    with serving(server) as wire:
        twins = [Twin(wire, hold_params=True), Twin(wire, hold_params=False)]
        sessions = [twin.id for twin in twins]
        wire.ask("PATCH", twins[0].path, {"ttl_seconds": 3 * HOUR})
        with jumping(clock, trial):
            for _ in range(trial.times(quick=8, whole=500)):
                for twin in twins:
                    request = twin.request()
                    answer = wire.send(request)
                    assert_replay(wire.send(request), answer)
                    twin.take(answer)
                    trial.tried["steps, each sent twice"] += 1
                sessions.append(wire.ask("POST", "/v1/sessions", LASTING, 201)["id"])
                assert listed(wire) == sorted(sessions, reverse=True)
        for twin in twins:
            twin.check(wire)
            assert min(row["duration_ms"] for row in wire.ask("GET", f"{twin.path}/history")["history"]) >= 0
        jump(clock, -HOUR)
        short = wire.ask("POST", "/v1/sessions", LASTING | {"ttl_seconds": HOUR / 2}, 201)["id"]
        assert sorted(listed(wire)) == sorted([*sessions, short])
        jump(clock, 0)
        assert wire.ask("GET", f"/v1/sessions/{short}", status=404)["code"] == "session_not_found"
        assert listed(wire) == sorted(sessions, reverse=True)
    assert server.log() == ""


@contextmanager
def jumping(clock: Path, trial: Trial) -> Iterator[None]:
    """Move the clock back and forth at random moments until the block ends."""
    done = Event()

    def run() -> None:
        while not done.wait(trial.random.uniform(0, 0.02)):
            jump(clock, trial.random.choice((-HOUR, 0, HOUR)))
            trial.tried["jumps"] += 1

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        jump(clock, 0)


def listed(wire: Wire) -> list[str]:
    """Return the ids of all sessions in the order of the list."""
    ids, cursor = list[str](), ""
    while cursor is not None:
        page = wire.ask("GET", f"/v1/sessions?limit=100{cursor and f'&cursor={cursor}'}")
        ids += [session["id"] for session in page["sessions"]]
        cursor = page["next_cursor"]
    return ids
