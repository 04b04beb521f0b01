"""The screen with which `optim serve` starts: on a terminal alone, and without secrets."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from app.serve import shown
from app.start_screen import rows
from tests.reaper import tied

FACTS = {"store": "memory:", "workers": 1, "threads": 2, "kernel": "numpy"}


@contextmanager
def served(*flags: str, **environment: str) -> Iterator[IO[str]]:
    """Lend what a service on a terminal shows."""
    ours, its = os.openpty()
    command = [sys.executable, "-m", "app.cli", "serve", "--port=0", *flags]
    with (
        os.fdopen(ours, encoding="utf-8", newline="\n") as screen,
        tied(command, env=os.environ | environment, stderr=its) as server,
    ):
        os.close(its)
        try:
            yield screen
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


@pytest.mark.long
def test_a_terminal_shows_address_store_and_durability(tmp_path: Path) -> None:
    with served(f"--store=lmdb:{tmp_path}", NO_COLOR="1", TERM="xterm") as screen:
        lines = [screen.readline().rstrip() for _ in range(12)]
    assert lines[0].startswith("Optim Service ")
    table = dict(line[2:].split(maxsplit=1) for line in lines[2:6])
    assert table["Page"] == table["Address"] + "/"
    assert table["Store"] == f"lmdb:{tmp_path}"
    assert lines[6].strip() == "an answered step survives a power cut"
    assert lines[9].startswith("  API keys   none: everybody on this machine may do everything")
    assert lines[11] == "Ctrl-C stops it; steps under way are finished first."


@pytest.mark.long
def test_a_terminal_that_wants_json_gets_the_log_line() -> None:
    with served("--store=memory:", "--log-format=json") as screen:
        assert '"event": "listening"' in screen.readline()


def test_a_service_on_a_socket_alone_has_no_page() -> None:
    told = dict(rows({**FACTS, "url": "unix:///run/optim.sock"}, "nothing", "needed"))
    assert told["Address"] == "unix:///run/optim.sock"
    assert "Page" not in told


def test_a_second_address_stands_below_the_first() -> None:
    facts = {**FACTS, "url": "http://127.0.0.1:1", "unix_socket": "/run/optim.sock"}
    assert list(rows(facts, "nothing", "needed"))[1] == ("", "unix:///run/optim.sock")


def test_the_collector_of_traces_is_shown_without_its_password() -> None:
    facts = {**FACTS, "url": "http://127.0.0.1:1", "traces": shown("http://me:secret@collector:4318/")}
    assert dict(rows(facts, "nothing", "needed"))["Traces"] == "http://collector:4318/"
