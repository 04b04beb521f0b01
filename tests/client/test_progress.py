"""The progress bar: the numbers of its loop, what it shows, and where it is drawn."""

import asyncio
import inspect
import os
import pty
import re
import subprocess
import sys
import termios
import textwrap
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import AsyncClient, Client, progress

ONE = {"w": np.float32([1])}
NAN = {"w": np.float32([np.nan])}
LOOP = """
from optim_client import Client, progress
import numpy as np

params = {"w": np.float32([1])}
with Client("memory:") as client:
    session = client.sessions.create("sgd", lr=0.5)
    for step in progress(session, total=40):
        params = session.step(params, {"w": np.float32([1])}, loss=1 / step)
"""


def trained(session: Any, total: int, stop: int | None = None) -> list[int]:
    """Step with the bar up to a number; return the numbers."""
    numbers = []
    for number in progress(session, total=total):
        session.step(ONE, ONE, loss=1 / number)
        numbers.append(number)
        if number == stop:
            break
    return numbers


def last_bar(text: str) -> str:
    return re.split("[\r\n]+", text.strip())[-1]


def test_a_loop_resumes_after_the_sessions_step(capsys: pytest.CaptureFixture[str]) -> None:
    with Client("memory:") as client:
        session = client.sessions.create("sgd", lr=0.5)
        assert trained(session, total=10, stop=4) == [1, 2, 3, 4]
        assert " 4/10 [" in last_bar(capsys.readouterr().err)
        again = client.sessions.get(session.id)
        assert trained(again, total=10) == [5, 6, 7, 8, 9, 10]
        assert trained(again, total=10) == []
    first, done = capsys.readouterr().err.strip("\r\n").split("\n")
    assert re.search(r"10/10 \[.* steps/s, loss 0\.1, lr 0\.5, grad norm 1\]$", last_bar(first))
    assert "10/10 [" in last_bar(done)


def test_a_skipped_step_is_shown_and_its_number_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with Client("memory:") as client:
        session = client.sessions.create("sgd", lr=0.5, on_non_finite="skip")
        numbers = []
        for number in progress(session, total=5):
            session.step(ONE, NAN if number in (2, 3) else ONE, loss=number)
            numbers.append(number)
        assert (numbers, session.info.step) == ([1, 2, 3, 4, 5], 3)
        assert "5/5 [" in (bar := last_bar(capsys.readouterr().err))
        assert "grad norm 1, 2 skipped]" in bar
        assert session.info.skipped_steps == session.get().skipped_steps == 2
        assert next(progress(session)) == 6


def test_a_loop_without_a_total_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with Client("memory:") as client:
        session = client.sessions.create("sgd", lr=0.5)
        assert list(islice(progress(session), 20)) == [*range(1, 21)]
    assert "0 steps [" in last_bar(capsys.readouterr().err)


def test_an_async_session_has_the_same_bar(capsys: pytest.CaptureFixture[str]) -> None:
    async def train() -> int:
        async with AsyncClient("memory:") as client:
            session = await client.sessions.create("sgd", lr=0.5)
            for step in progress(session, total=3):
                await session.step(ONE, ONE, loss=step)
            return session.info.step

    assert asyncio.run(train()) == 3
    assert "3/3 [" in last_bar(capsys.readouterr().err)


@pytest.mark.long
def test_the_bar_is_redrawn_in_a_terminal() -> None:
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 120))
    with subprocess.Popen([sys.executable, "-c", LOOP], stdout=writer, stderr=writer) as process:
        os.close(writer)
        text = b""
        try:
            while chunk := os.read(reader, 1 << 16):
                text += chunk
        except OSError:  # the other end was closed
            pass
        os.close(reader)
    assert process.returncode == 0, text
    drawn = [bar for bar in re.split("[\r\n]+", text.decode()) if bar]
    assert " 0/40 [" in drawn[0]
    assert re.search(r"40/40 \[.* steps/s, loss 0\.025, lr 0\.5, grad norm 1\]", drawn[-1])


def test_the_loops_of_the_documents_run(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "clients/python/README.md").read_text(encoding="utf-8")
    _, mark, example = (inspect.getdoc(progress) or "").partition("\nExample:\n")
    [loop] = re.findall(r"^```py\n(from optim_client import progress\n.*?)^```", readme, re.MULTILINE | re.DOTALL)
    with Client("memory:") as client:
        for code in (textwrap.dedent(example), loop.replace("1000", "10")):
            session = client.sessions.create("sgd", lr=0.5)
            names = {"progress": progress, "session": session, "params": ONE, "grads": ONE}
            exec(code, names | {"loss_and_grads": lambda params, step: (1 / step, ONE)})
            assert (bool(mark), session.info.step) == (True, 10)


def test_without_tqdm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with Client("memory:") as client:
        session = client.sessions.create("sgd")
        with pytest.raises(ImportError, match=r"`pip install tqdm`, or .*\[progress\]"):
            progress(session, total=3)
        with pytest.raises(TypeError, match="total must be a whole number"):
            progress(session, total=2.5)  # type: ignore[arg-type]
