"""The server process: its settings and its stop. `tests/durability/test_workers.py` kills processes and supervisors."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from platform import machine
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from optim_client import Client

from app.compute import FUSED_FROM
from app.worker import SWITCH_SECONDS
from tests.reaper import tied
from tests.web.sockets import Wire, post

PROGRAM = """
import gc, json, logging, sys
from app.worker import application
application()
level = logging.getLogger("optim").level
print(json.dumps([gc.get_threshold(), gc.get_freeze_count() > 10_000, sys.getswitchinterval(), level]))
"""


@contextmanager
def served(*flags: str) -> Iterator[tuple["subprocess.Popen[str]", tuple[str, int]]]:
    """Yield a server process and the address on which it listens."""
    command = [sys.executable, "-m", "app.cli", "serve", "--port=0", "--log-format=json", *flags]
    with tied(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            url = urlsplit(json.loads(server.stderr.readline())["url"])
            yield server, (url.hostname or "", url.port or 0)
        finally:
            server.kill()


@pytest.mark.long
def test_a_process_is_tuned_and_reads_the_environment() -> None:
    environment = os.environ | {"OPTIM_STORE": "memory:", "OPTIM_LOG_LEVEL": "error"}
    said = subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True)
    assert json.loads(said) == [[50_000, 10, 1_000_000], True, SWITCH_SECONDS, 40]


@pytest.mark.long
def test_a_process_loads_numba_at_its_first_large_step(with_numba: None) -> None:
    with served("--store=memory:") as (server, (host, port)), Client(f"http://{host}:{port}", timeout=60) as client:
        maps = Path(f"/proc/{server.pid}/maps")
        small, large = np.ones(1, np.float32), np.ones(FUSED_FROM // 4, np.float32)
        client.sessions.create("adamw").step({"w": small}, {"w": small})
        assert "llvmlite" not in maps.read_text()
        client.sessions.create("adamw").step({"w": large}, {"w": large})
        assert server.stderr
        lines = map(json.loads, server.stderr)
        assert next(line for line in lines if line["event"].startswith("loaded the kernel"))["kernel"] == "numba"
        assert "llvmlite" in maps.read_text()


@pytest.mark.long
def test_a_stop_does_not_wait_until_a_kernel_is_compiled(
    tmp_path: Path, with_numba: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is for a processor of which none is kept beside the source, where other tests leave theirs."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+neon" if machine() in {"aarch64", "arm64"} else "+cx16")
    with served("--store=memory:") as (server, (host, port)), Client(f"http://{host}:{port}", timeout=60) as client:
        large = np.ones(FUSED_FROM // 4, np.float32)
        client.sessions.create("adamw").step({"w": large}, {"w": large})
        late = time.monotonic() + 30
        while not [*tmp_path.rglob("adam-float32.lock")]:
            assert time.monotonic() < late
            time.sleep(0.05)
        [compiler] = psutil.Process(server.pid).children()
        server.terminate()
        server.communicate(timeout=30)
        assert (server.returncode, compiler.is_running()) == (0, False)
    assert not [*tmp_path.rglob("*.nbc")]


@pytest.mark.long
def test_a_request_cancelled_by_a_stop_logs_no_error() -> None:
    with served("--store=memory:", "--shutdown-seconds=1") as (server, address), Wire(address) as wire:
        wire.send(post("/v1/sessions", b"half of it", content_type="application/json", expect="100-continue")[:-5])
        assert wire.answer() == (100, b"")
        server.send_signal(signal.SIGTERM)
        assert wire.answer()[0] == 503
        _, said = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "Traceback" not in said
    errors = [line["event"] for line in map(json.loads, said.splitlines()) if line["level"] == "error"]
    assert errors == ["Cancel 1 running task(s), timeout graceful shutdown exceeded"]
