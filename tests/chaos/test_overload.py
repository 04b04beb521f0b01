"""Ten times the capacity: the service refuses the excess, and stays responsive."""

import http.client
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from optim_client._protocol import Request

from tests.amounts import WHOLE
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess
from tests.durability.wire import JSON, Wire, bytes_of
from tests.reaper import tied

TIMES = 10
NUMBERS = 20_000
"""Elements of a step, which makes it slow enough for a generator of ten times the load."""
PLACES = 16
LIVEZ_SECONDS = 0.05
NORMAL_SECONDS = 5.0
LOOK_SECONDS = 0.02
MOST_BYTES = 256 << 20
"""Bytes of memory for all waiting and running requests."""
SEEN = ["requests offered", "requests sent", "answered 200", "answered 503", "found no connection free"]


@pytest.mark.requirement("R12")
@pytest.mark.long
def test_load_beyond_capacity_is_refused_without_harm(trial: Trial, tmp_path: Path) -> None:
    alone, together = trial.times(quick=1, whole=10), trial.times(quick=2, whole=60)
    options = [f"--max-waiting-steps={PLACES}"]
    server = ServerProcess(f"lmdb:{tmp_path / 'store'}", tmp_path / "log", options=options)
    server.start()
    try:
        with Wire(server.port) as wire:
            steps = [step_of(new_session(wire)) for _ in range(trial.times(quick=8, whole=64))]
            file = tmp_path / "steps"
            file.write_text("".join(json.dumps(b"".join(bytes_of(step)).decode("latin-1")) + "\n" for step in steps))
            usual = statistics.median(took(wire, step) for step in steps)
            capacity = seen(load(server, PLACES, 1e6, alone, file))["answered 200"] / alone
            before, memory = count(wire), private_bytes(server)
            # More connections than answers within the wait for a place: some steps find none.
            loading = load(server, PLACES + int(capacity), TIMES * capacity, together, file)
            livez, most_memory = watched(server, loading)
            found, ended = seen(loading), time.monotonic()
            assert found["answered 200"] <= count(wire) - before
            while max(took(wire, step) for step in steps[:5]) > 3 * usual and WHOLE:
                assert time.monotonic() < ended + 60
            recovered = time.monotonic() - ended
    finally:
        server.kill()
    assert found.keys() <= {*SEEN, "not answered at the end"}
    assert found["answered 503"]
    assert most_memory - memory < MOST_BYTES
    trial.tried.update({what: found[what] for what in SEEN})
    trial.tried["looks at /livez"] = len(livez)
    p99 = sorted(livez)[int(0.99 * len(livez))]
    trial.measured["capacity"] = f"{capacity:.0f} steps/s"
    trial.measured["steps meanwhile"] = f"{found['answered 200'] / together:.0f} steps/s"
    trial.measured["memory for it"] = f"{max(0, most_memory - memory) >> 20} MiB"
    trial.measured["/livez, p99"] = f"{1000 * p99:.0f} ms"
    trial.measured["/livez, slowest"] = f"{1000 * max(livez):.0f} ms"
    trial.measured["normal again after"] = f"{recovered:.1f} s"
    if WHOLE:
        assert max(livez) < LIVEZ_SECONDS
        assert recovered < NORMAL_SECONDS


def new_session(wire: Wire) -> str:
    """Create a session that holds its parameters; return its path."""
    path = f"/v1/sessions/{wire.ask('POST', '/v1/sessions', {'optimizer': 'adam', 'hold_params': True}, 201)['id']}"
    wire.ask("POST", f"{path}/steps", {"params": {"w": [0.0] * NUMBERS}, "grads": {"w": [0.1] * NUMBERS}})
    return path


def step_of(path: str) -> Request:
    body = json.dumps({"grads": {"w": [0.0123] * NUMBERS}}).encode()
    return Request("POST", f"{path}/steps", headers=JSON, body=body)


def took(wire: Wire, step: Request) -> float:
    """Take the step, with retries after a 503; return the seconds of all tries."""
    started = time.perf_counter()
    while (answer := wire.send(step)).status == 503:
        assert time.perf_counter() < started + 60
    assert answer.status == 200, answer.body
    return time.perf_counter() - started


def count(wire: Wire) -> int:
    """Return the number of steps of all sessions."""
    return sum(session["step"] for session in wire.ask("GET", "/v1/sessions?limit=100")["sessions"])


def load(server: ServerProcess, connections: int, rate: float, seconds: int, file: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.chaos.load", str(server.port), str(connections), str(rate), str(seconds)]
    return tied([*command, str(file)], stdout=subprocess.PIPE, text=True)


def seen(process: "subprocess.Popen[str]") -> dict[str, int]:
    """Wait for the end of the load; return its counts."""
    with process:
        found: dict[str, int] = json.loads(process.communicate()[0])
    return found


def private_bytes(server: ServerProcess) -> int:
    """Return the bytes of the server's own memory, without LMDB's file."""
    memory = psutil.Process(server.pid).memory_info()
    return int(memory.rss - memory.shared)


def watched(server: ServerProcess, loading: "subprocess.Popen[str]") -> tuple[list[float], int]:
    """Watch the server under load: return the seconds of each /livez on a new connection, and the most memory."""
    livez, memory = list[float](), list[int]()
    while loading.poll() is None:
        started = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        connection.close()
        livez.append(time.perf_counter() - started)
        memory.append(private_bytes(server))
        time.sleep(LOOK_SECONDS)
    return livez, max(memory)
