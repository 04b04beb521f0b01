"""The server process: its settings and its stop. `tests/durability/test_workers.py` kills processes and supervisors."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

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


def test_a_process_is_tuned_and_reads_the_environment() -> None:
    environment = os.environ | {"OPTIM_STORE": "memory:", "OPTIM_LOG_LEVEL": "error"}
    said = subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True)
    assert json.loads(said) == [[50_000, 10, 1_000_000], True, SWITCH_SECONDS, 40]


def test_a_request_that_a_stop_cancels_is_no_error_in_the_log() -> None:
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
