"""Slow clients: the service disconnects them at the documented deadlines, and others do not notice them."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.amounts import WHOLE
from tests.chaos.slow_clients import Client, Crowd, dripping, not_taking, silent
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess
from tests.durability.twin import Twin
from tests.durability.wire import Wire, bytes_of

DEADLINES = {"head": 10.0, "body": 30.0, "answer": 30.0} if WHOLE else {"head": 1.0, "body": 1.0, "answer": 1.0}
"""Seconds; in a whole run the documented ones."""
LOOK_SECONDS = min(DEADLINES.values()) / 4
"""The longest time between two checks of the service."""
THINK_SECONDS = 0.01
"""The pause of a training between two steps."""
LATE_SECONDS = 5.0
"""The longest delay until a busy machine notices a closed connection."""
LARGE = 5_000
"""Rows of a twin whose answer of 6 MB exceeds the socket buffers."""


@pytest.mark.requirement("R11")
@pytest.mark.long
def test_slow_clients_are_disconnected_and_others_unaffected(trial: Trial, tmp_path: Path) -> None:
    count = trial.times(quick=20, whole=500)
    takers = trial.times(quick=2, whole=20)
    deadlines = [f"--{name}-seconds={seconds}" for name, seconds in DEADLINES.items()]
    server = ServerProcess(f"lmdb:{tmp_path / 'store'}", tmp_path / "log", options=deadlines)
    server.start()
    try:
        with Wire(server.port) as wire:
            normal, large = Twin(wire, hold_params=False), Twin(wire, hold_params=True, rows=LARGE)
            request = large.request()
            large.take(wire.send(request))
            usual = steps(wire, normal, until=lambda done: len(done) >= trial.times(quick=20, whole=1_000))
            crowd = Crowd(server.port, spread=DEADLINES["head"])
            slow: dict[str, list[Client]] = {
                "heads": [dripping(b"POST /v1/sessions HTTP/1.1\r\nx-drop: ", b"x") for _ in range(count)],
                "bodies": [dripping(*body(trial, normal)) for _ in range(count)],
                "silent": [silent] * count,
            }
            with crowd.gathered(slow):
                meanwhile = steps(wire, normal, lambda _: all(len(crowd.lasted[kind]) >= count for kind in slow))
            greedy = Crowd(server.port, spread=0)
            with greedy.gathered({"answers": [not_taking(b"".join(bytes_of(request)))] * takers}):
                steps(wire, normal, lambda _: len(greedy.lasted["answers"]) >= takers)
            normal.check(wire)
    finally:
        server.kill()
    for kind, name in {"heads": "head", "bodies": "body", "silent": "head", "answers": "answer"}.items():
        lasted = (crowd.lasted | greedy.lasted)[kind]
        trial.tried[f"{kind} let go"] = len(lasted)
        assert min(lasted) > 0.9 * DEADLINES[name]
        if WHOLE:
            assert max(lasted) < DEADLINES[name] + LOOK_SECONDS + LATE_SECONDS
        trial.measured[f"longest of {kind}"] = f"{max(lasted):.1f} s"
    trial.tried["others' steps meanwhile"] = len(meanwhile)
    trial.measured["others' p99 before"] = f"{1000 * p99(usual):.1f} ms"
    trial.measured["others' p99 meanwhile"] = f"{1000 * p99(meanwhile):.1f} ms"
    if WHOLE:
        assert p99(meanwhile) < 2 * p99(usual)


def body(trial: Trial, twin: Twin) -> tuple[bytes, bytes]:
    """Return the start of a step's request and a drop of its body, which is small, large or chunked."""
    begin = f"POST {twin.path}/steps HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\n".encode()
    if trial.random.random() < 1 / 3:
        return begin + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"
    return begin + b"content-length: %d\r\n\r\n" % trial.random.choice([1 << 10, 1 << 20, 1 << 30]), b"x"


def steps(wire: Wire, twin: Twin, until: Callable[[list[float]], bool]) -> list[float]:
    """Take steps as a client that is not slow; return the seconds of each."""
    took: list[float] = []
    while not until(took):
        request, started = twin.request(), time.perf_counter()
        answer = wire.send(request)
        took.append(time.perf_counter() - started)
        twin.take(answer)
        time.sleep(THINK_SECONDS)
    return took


def p99(took: list[float]) -> float:
    return sorted(took)[int(0.99 * len(took))]
