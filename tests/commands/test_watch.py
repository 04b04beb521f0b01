"""The command `optim sessions watch`, as it is typed: on a terminal, and into a pipe."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Self

import numpy as np
import pytest
from optim_client import Client, Session

from tests.reaper import tied

ONE = {"w": np.ones(1, "f4")}
SECONDS = 60.0
LEFT = "\x1b[?1049l"
"""The end of the screen that was drawn in place."""


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    with Client(url) as client:
        session = client.sessions.create("sgd", undo=1, on_other_params="accept")
        for loss in (0.5, 0.25):
            session.step(ONE, ONE, loss=loss)
        yield session


class Watched:
    """The command in a terminal of its own, 80 by 24."""

    def __init__(self, session: Session, url: str) -> None:
        self.text = ""
        self._ours, theirs = pty.openpty()
        self.resize(80, 24)
        command = [sys.executable, "-m", "app.cli", "sessions", "watch", session.id, "--url", url]
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = tied(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=environment | {"TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(theirs)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def until(self, wanted: str) -> str:
        """Return what is shown up to the wanted text, without its colours; what follows is for the next call."""
        end = time.monotonic() + SECONDS
        while wanted not in self.text:
            assert time.monotonic() < end, f"{wanted!r} is not in {self.text!r}"
            if select.select([self._ours], [], [], 0.1)[0]:
                self.text += re.sub(r"\x1b\[[\d;]*m", "", os.read(self._ours, 1 << 16).decode(errors="replace"))
        before, _, self.text = self.text.partition(wanted)
        return before

    def rest(self) -> str:
        """Return what is shown until the process ends."""
        try:
            while True:
                self.text += re.sub(r"\x1b\[[\d;]*m", "", os.read(self._ours, 1 << 16).decode(errors="replace"))
        except OSError:  # the other side is closed
            return self.text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.mark.long
def test_curves_move_are_resized_and_end_with_ctrl_c(session: Session, url: str) -> None:
    with Watched(session, url) as watched:
        watched.until("step 2  loss 0.25")
        session.step(ONE, ONE, loss=0.125)
        watched.until("step 3  loss 0.125")
        session.undo()
        watched.until("↶ 1")
        watched.resize(60, 16)
        watched.until("step 2  loss 0.25")
        os.killpg(watched.process.pid, signal.SIGINT)
        watched.until(LEFT)
        last = watched.rest()
        assert watched.process.wait(SECONDS) == 130
    assert f"● {session.id[:8]}  step 2  loss 0.25" in last
    assert "Traceback" not in last
    shown = re.sub(r"\x1b\[\?\d+[hl]", "", last)  # without the cursor's codes
    assert max(len(line) for line in shown.splitlines()) <= 60


@pytest.mark.long
def test_a_watch_ends_when_the_session_is_gone(session: Session, url: str) -> None:
    with Watched(session, url) as watched:
        watched.until("step 2  loss 0.25")
        session.delete()
        watched.until(LEFT)
        assert re.search(r"step 2 .*  gone", watched.rest())
        assert watched.process.wait(SECONDS) == 0


@pytest.mark.long
def test_without_a_terminal_each_event_is_a_line(session: Session, url: str) -> None:
    command = [sys.executable, "-m", "app.cli", "sessions", "watch", session.id, "--url", url]
    with tied(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        end = time.monotonic() + SECONDS
        while not select.select([process.stdout], [], [], 0.2)[0]:
            assert time.monotonic() < end
            session.step(ONE, ONE, loss=0.5)
        first = process.stdout.readline().split()
        session.delete()
        told, said = process.communicate(timeout=SECONDS)
        assert (process.returncode, said) == (0, "")
    assert first[0] == session.id[:8]
    assert first[2] == "0.5"
    assert all(line.startswith(session.id[:8]) for line in told.splitlines())


@pytest.mark.long
def test_an_unknown_session_is_one_line(url: str) -> None:
    command = [sys.executable, "-m", "app.cli", "sessions", "watch", "f" * 32, "--url", url]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith(f"optim: unknown session '{'f' * 32}'")
