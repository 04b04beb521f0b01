"""Phases: where the time of a request goes."""

import time
from pathlib import Path

import pytest
from httpx2 import Client

from app.web.phases import COMPUTE, CURRENT, DECODE, FIELDS, LOAD, RECEIVE, SAVE, Phases, end_phase, ending
from tests.service.calls import W, create, serving, step, stepped
from tests.web.logs import Logs


def ended(phases: Phases, phase: int, seconds: float) -> None:
    time.sleep(seconds)
    phases.end(phase)


def test_a_phase_has_the_time_since_the_border_before() -> None:
    phases = Phases(time.perf_counter())
    ended(phases, RECEIVE, 0.01)
    ended(phases, DECODE, 0.03)
    assert 0.01 <= phases.seconds[RECEIVE] < phases.seconds[DECODE]
    assert phases.seconds[LOAD] == 0


def test_a_phase_that_comes_again_adds_up() -> None:
    phases = Phases(time.perf_counter())
    for phase in (LOAD, SAVE, LOAD):
        ended(phases, phase, 0.01)
    assert phases.seconds[LOAD] >= 0.02 > 0.01 <= phases.seconds[SAVE]


def test_skipped_time_is_in_no_phase() -> None:
    phases = Phases(time.perf_counter())
    time.sleep(0.05)
    phases.skip()
    phases.end(LOAD)
    assert phases.seconds[LOAD] < 0.05


def test_phases_below_a_hundredth_millisecond_are_left_out() -> None:
    phases = Phases()
    phases.seconds[COMPUTE], phases.seconds[SAVE] = 0.0123, 9e-6
    assert phases.milliseconds() == {"compute_ms": 12.3}


def test_borders_are_listed_where_asked_for() -> None:
    phases = Phases(started := time.perf_counter())
    phases.borders = []
    phases.end(RECEIVE)
    phases.end(DECODE)
    (first, start, border), (second, again, _) = phases.borders
    assert (first, start, second, again) == (RECEIVE, started, DECODE, border)


async def test_a_phase_ends_with_its_work_and_its_failure() -> None:
    async def work(fails: bool) -> int:
        end_phase(LOAD)
        time.sleep(0.01)  # noqa: ASYNC251
        if fails:
            raise ZeroDivisionError
        return 42

    phases = Phases(time.perf_counter())
    token = CURRENT.set(phases)
    assert await ending(COMPUTE, work(fails=False)) == 42
    with pytest.raises(ZeroDivisionError):
        await ending(COMPUTE, work(fails=True))
    CURRENT.reset(token)
    assert phases.seconds[COMPUTE] >= 0.02


@pytest.fixture
def every_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show also the phases that take no time to speak of."""
    monkeypatch.setattr("app.web.phases.SHORTEST_SECONDS", 1e-9)


@pytest.mark.usefixtures("every_phase")
def test_the_line_of_a_step_has_its_phases(client: Client, logs: Logs) -> None:
    session = create(client)
    logs.text()
    stepped(client, session, **W)
    (line,) = logs.lines()
    assert set(FIELDS) <= line.keys()
    assert sum(line[name] for name in FIELDS) <= line["ms"] + 0.05
    assert line["step"] == 1


@pytest.mark.usefixtures("every_phase")
@pytest.mark.parametrize("store", ["memory:", "lmdb:"])
def test_a_replay_saves_nothing(logs: Logs, store: str, tmp_path: Path) -> None:
    with serving(store=store if store == "memory:" else f"lmdb:{tmp_path}") as client:
        session = create(client)
        stepped(client, session, "a", **W)
        logs.text()
        stepped(client, session, "a", **W)
    line = logs.lines()[0]
    assert {*FIELDS} - {"save_ms"} <= line.keys()
    assert "save_ms" not in line


def test_a_refused_step_has_no_step(client: Client, logs: Logs) -> None:
    session = create(client)
    logs.text()
    step(client, session, **W, step=9)
    (line,) = logs.lines()
    assert "step" not in line


@pytest.mark.usefixtures("every_phase")
def test_a_contribution_that_closes_its_round_has_all_phases(client: Client, logs: Logs) -> None:
    session = create(client, hold_params=True, workers={"expected": 2})
    client.put(f"{session}/params", json={"params": W["params"]})
    for worker in "ab":
        client.put(f"{session}/workers/{worker}", json={})
    logs.text()
    for epoch, worker in enumerate("ab", start=1):
        client.put(
            f"{session}/rounds/1/contributions/{worker}", json={"grads": W["grads"], "epoch": epoch}
        ).raise_for_status()
    first, last = [line for line in logs.lines() if line["event"] == "request"]
    assert {*FIELDS} - {"encode_ms"} <= first.keys()
    assert {*FIELDS} <= last.keys()
    assert "step" not in first
    assert last["step"] == 1


def test_the_wait_for_others_is_in_no_phase(client: Client, logs: Logs) -> None:
    session = create(client, hold_params=True, workers={"expected": 2})
    client.put(f"{session}/params", json={"params": W["params"]})
    for worker in "ab":
        client.put(f"{session}/workers/{worker}", json={})
    logs.text()
    sent = {"json": {"grads": W["grads"], "epoch": 1}, "headers": {"prefer": "wait=1"}}
    assert client.put(f"{session}/rounds/1/contributions/a", **sent).status_code == 202
    (line,) = logs.lines()
    assert line["ms"] >= 1000
    assert sum(line.get(name, 0) for name in FIELDS) < 500


def test_the_phases_of_other_writes_and_reads_are_told(client: Client, logs: Logs, every_phase: None) -> None:
    session = create(client, hold_params=True)
    client.put(f"{session}/params", json={"params": W["params"]})
    client.get(f"{session}/params")
    made, put, read = [[name for name in FIELDS if name in line] for line in logs.lines()]
    assert made == ["receive_ms", "decode_ms", "compute_ms", "save_ms", "encode_ms"]
    assert put == ["receive_ms", "decode_ms", "load_ms", "compute_ms", "save_ms"]
    assert read == ["load_ms", "encode_ms"]
