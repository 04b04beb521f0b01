"""Requests at the limits: they delay no other request, and an idle service gives their memory back."""

import http.client
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from optim_client._protocol import Request

from app.compute import FUSED_FROM
from tests.amounts import WHOLE
from tests.chaos.bounds import BINARY, JSON_BYTES, MANY, PATTERNS, Heavy, json_requests, list_of, names_of, step_of
from tests.chaos.bounds import wide_requests as wide
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess
from tests.durability.wire import JSON, Wire

LIVEZ_SECONDS, JSON_LIVEZ_SECONDS = 0.1, 1.0
"""Twice the promise, because the machine pauses, too."""
QUICK_SECONDS = 2.0
"""A bound for a busy machine, too: the faults that these checks found took three seconds to half an hour."""
LOOK_SECONDS = 0.005
IDLE_SECONDS = 60.0
LEFT_BYTES, LEFT_SHARE = 64 << 20, 3
"""The memory that an idle service may keep: this much, or a third of what the work took.
Small objects are scattered; later work uses the same places."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(f"lmdb:{tmp_path / 'store'}", tmp_path / "log", options=["--lmdb-sync=relaxed"])
    server.start()
    yield server
    server.kill()


class Watch:
    """A client that polls /livez. `slowest` is the longest time of an answer since it was set to 0."""

    def __init__(self, port: int) -> None:
        self.slowest = 0.0
        self.looks = 0
        self._port = port
        self._ended = threading.Event()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        while not self._ended.is_set():
            started = time.perf_counter()
            connection.request("GET", "/livez")
            assert connection.getresponse().read()
            self.slowest = max(self.slowest, time.perf_counter() - started)
            self.looks += 1
            time.sleep(LOOK_SECONDS)
        connection.close()

    def end(self) -> None:
        self._ended.set()


@contextmanager
def watching(server: ServerProcess) -> Iterator[Watch]:
    watch = Watch(server.port)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.end()
        thread.join()


def created(wire: Wire, **settings: object) -> str:
    """Create a session; return its path."""
    return f"/v1/sessions/{wire.ask('POST', '/v1/sessions', {'optimizer': 'adam', **settings}, 201)['id']}"


def slowest_of(trial: Trial, wire: Wire, watch: Watch, requests: Iterable[Heavy]) -> float:
    """Send the requests; return the longest time of /livez meanwhile."""
    slowest = 0.0
    for heavy in requests:
        watch.slowest = 0.0
        answer = wire.send(heavy.request)
        assert answer.status in heavy.statuses, (heavy.name, answer.status, bytes(answer.body)[:300])
        trial.tried["requests"] += 1
        slowest = max(slowest, watch.slowest)
        assert watch.slowest < QUICK_SECONDS, heavy.name
    return slowest


@pytest.mark.requirement("R18")
@pytest.mark.long
def test_a_request_at_the_limits_delays_no_other(trial: Trial, server: ServerProcess) -> None:
    names, patterns = names_of(trial.times(quick=1_000, whole=MANY)), trial.times(quick=16, whole=PATTERNS)
    rows = trial.times(quick=100, whole=MANY)
    with Wire(server.port) as wire, watching(server) as watch:
        lists = list_of(wire, trial.times(quick=10, whole=100), 2_000)
        wides = slowest_of(trial, wire, watch, [*wide(created(wire), names, patterns), lists])
        session = created(wire, optimizer="sgd")
        json = slowest_of(trial, wire, watch, json_requests(session, trial.times(quick=1 << 20, whole=JSON_BYTES)))
        step = Request("POST", f"{session}/steps", headers=JSON, body=b'{"grads":{"w":[1]},"params":{"w":[1]}}')
        for _ in range(rows):
            assert wire.send(step).status == 200
        pages = [
            Heavy(path, Request("GET", path))
            for path in (f"{session}/history?limit=10000", "/metrics", "/openapi.json", "/docs", "/readyz")
        ]
        others = slowest_of(trial, wire, watch, pages)
    trial.tried |= {"tensors": len(names), "patterns": patterns, "rows": rows, "looks at /livez": watch.looks}
    trial.measured["/livez beside many tensors, slowest"] = f"{1000 * wides:.0f} ms"
    trial.measured["beside JSON"] = f"{1000 * json:.0f} ms"
    trial.measured["beside pages"] = f"{1000 * others:.0f} ms"
    if WHOLE:
        assert max(wides, others) < LIVEZ_SECONDS
        assert json < JSON_LIVEZ_SECONDS


def memory_of(server: ServerProcess) -> int:
    """Return the bytes of the server's own memory, without LMDB's file."""
    memory = psutil.Process(server.pid).memory_info()
    return int(memory.rss - memory.shared)


@pytest.mark.requirement("R18")
@pytest.mark.long
def test_an_idle_service_gives_memory_back(trial: Trial, server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        session, other = (created(wire, optimizer="sgd") for _ in range(2))
        for path, shape in ((session, ()), (other, (FUSED_FROM // 4,))):
            warm = Request("POST", f"{path}/steps", headers=BINARY, body=step_of(["w"], shape))
            assert wire.send(warm).status == 200
        assert wire.send(Request("DELETE", other)).status == 204
        server.rest()
        before = most = memory_of(server)
        for mebibytes in trial.times(quick=1, whole=3) * (8, 40, 64, 96):
            body = step_of([f"w{mebibytes}"], (mebibytes << 16,))
            assert wire.send(Request("POST", f"{session}/steps", headers=BINARY, body=body)).status == 200
            trial.tried["large steps"] += 1
            most = max(most, memory_of(server))
        for heavy in json_requests(session, trial.times(quick=2 << 20, whole=JSON_BYTES)):
            assert wire.send(heavy.request).status in heavy.statuses
            trial.tried["dense JSON bodies"] += 1
            most = max(most, memory_of(server))
        sessions = [session]
        names = names_of(500)
        for i in range(trial.times(quick=10, whole=100)):
            groups = [{"match": [f"{'x' * 1000}{i}.{j}" for j in range(PATTERNS)], "lr": 0.1}]
            sessions.append(created(wire, groups=groups))
            for leaving in range(3):
                body = step_of(names[leaving:])
                assert wire.send(Request("POST", f"{sessions[-1]}/steps", headers=BINARY, body=body)).status == 200
            trial.tried["sessions of many names and patterns"] += 1
            most = max(most, memory_of(server))
        for path in sessions:
            assert wire.send(Request("DELETE", path)).status == 204
        emptied = time.monotonic()
        left = max(LEFT_BYTES, (most - before) // LEFT_SHARE)
        while memory_of(server) > before + left:
            assert time.monotonic() < emptied + IDLE_SECONDS, memory_of(server)
            time.sleep(0.5)
    assert most > before + LEFT_BYTES
    trial.measured["memory for it"] = f"{(most - before) >> 20} MiB"
    trial.measured["left of it"] = f"{(memory_of(server) - before) / 2**20:.0f} MiB"
    trial.measured["gone after"] = f"{time.monotonic() - emptied:.1f} s"
