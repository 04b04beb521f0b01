"""The example with JAX: it learns as optax does, and goes on after a stop; and the README's words on JAX run."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optim_client import Client

from app.demo.server import Server
from tests.docs.blocks import ROOT, blocks, read, section


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


def started(url: str, *arguments: str, folder: Path = ROOT) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OPTIM_BASE_URL": url, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(program: subprocess.Popen[str]) -> str:
    out, error = program.communicate(timeout=100)
    assert program.returncode == 0, error
    return out


def accuracies(out: str) -> list[float]:
    return [float(text) for text in re.findall(r"accuracy (\S+)", out)]


def test_the_digits_are_learned_also_after_a_stop(url: str) -> None:
    killed = started(url, "examples/jax_digits.py")
    with killed, Client(url) as client:
        lines: Any = killed.stdout
        assert "step 100" in next(lines)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        resumed = finished(started(url, "examples/jax_digits.py"))
        local = finished(started(url, "examples/jax_digits.py", "local"))
        [session] = client.sessions.find(labels={"example": "jax_digits"})
    assert re.match(r"goes on after step [1-4]\d\d\n", resumed)
    assert session.info.step == 500
    assert accuracies(resumed)[-1] == pytest.approx(accuracies(local)[-1], abs=0.02)
    assert accuracies(local)[-1] > 0.95


def test_the_readmes_words_on_jax_run(url: str, tmp_path: Path) -> None:
    code = "\n".join(blocks(section(read("clients/python/README.md"), "JAX and optax"), "py"))
    assert code.replace("http://127.0.0.1:8000", url) != code
    finished(started(url, "-c", code.replace("http://127.0.0.1:8000", url), folder=tmp_path))
