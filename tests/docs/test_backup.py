"""Backup and restore as docs/stores.md tells an operator to do them, on stores in use."""

import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from optim_client import Client, SessionNotFound, StepConflict

from tests.compose import Compose
from tests.docs.blocks import ROOT, blocks, read, section
from tests.durability.processes import ServerProcess

GRADS = [{"w": np.random.default_rng(n).standard_normal(40_000, np.float32)} for n in range(400)]
"""The gradients of each step, so that it can be taken again."""
SESSIONS = 4
PAUSE_SECONDS = 0.02
"""The pause of each session after a step: the backup needs the processor, too."""

Run = Callable[[str], "subprocess.CompletedProcess[str]"]


class Steps:
    """Sessions that are stepped for as long as a test wants, with the digest of each after each step."""

    def __init__(self, url: str) -> None:
        self.digests: dict[str, list[str]] = {}
        with Client(url) as client:
            for _ in range(SESSIONS):
                session = client.sessions.create("adam", hold_params=True)
                session.put_params({"w": np.zeros(40_000, np.float32)})
                self.digests[session.id] = [session.digest]
        self._url = url
        self._end = Event()
        self._threads = [Thread(target=self._step, args=(session_id,)) for session_id in self.digests]

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Take steps before the block, in it, and after it."""
        for thread in self._threads:
            thread.start()
        try:
            self._wait_for(3)
            yield
            self._wait_for(3)
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join()

    def _wait_for(self, more: int) -> None:
        counts = {session_id: len(digests) + more for session_id, digests in self.digests.items()}
        while any(len(self.digests[session_id]) < count for session_id, count in counts.items()):
            assert all(thread.is_alive() for thread in self._threads)
            self._end.wait(PAUSE_SECONDS)

    def _step(self, session_id: str) -> None:
        with Client(self._url) as client:
            session = client.sessions.get(session_id)
            while not self._end.is_set():
                session.step(grads=GRADS[len(self.digests[session_id]) - 1])
                self.digests[session_id].append(session.digest)
                self._end.wait(PAUSE_SECONDS)

    def remember(self, client: Client) -> None:
        """Keep each session as it is now; the restored ones will be behind."""
        self._ahead = {session_id: client.sessions.get(session_id) for session_id in self.digests}

    def check(self, later: str, deleted: str) -> None:
        """Assert that each restored session is whole, at one of its steps, and goes on to the same bits."""
        with Client(self._url) as client:
            behind = 0
            for session_id, digests in self.digests.items():
                session = client.sessions.get(session_id)
                step = session.info.step
                assert session.digest == digests[step]
                assert 3 <= step < len(digests) - 1
                with pytest.raises(StepConflict) as refusal:
                    self._ahead[session_id].step(grads=GRADS[len(digests) - 1])
                assert refusal.value.current_step == step
                for number in range(step, len(digests) - 1):
                    session.step(grads=GRADS[number])
                    assert session.digest == digests[number + 1]
                    behind += 1
            assert behind > 0
            with pytest.raises(SessionNotFound):
                client.sessions.get(later)
            assert client.sessions.get(deleted).info.step == 0


def lines(title: str) -> list[str]:
    """Return the commands of the blocks below the heading, one a line."""
    text = section(read("docs/stores.md"), "Backup and restore")
    below = text[text.index(f"### {title}\n") :].partition("\n### ")[2 if text.endswith(title) else 0]
    return [line for block in blocks(below, "sh") for line in block.splitlines()]


def rehearse(client: Client, url: str, run: Run, backup: str) -> tuple[Steps, str, str]:
    """Back up while steps are taken. Return the steps, and the ids of a session made and one deleted afterwards."""
    steps = Steps(url)
    deleted = client.sessions.create("sgd")
    with steps.under_way():
        said = run(backup)
        assert said.returncode == 0, said.stderr
        assert f"{SESSIONS + 1} sessions" in said.stdout
    later = client.sessions.create("sgd")
    deleted.delete()
    steps.remember(client)
    return steps, later.id, deleted.id


@pytest.fixture
def make(tmp_path: Path) -> list[str]:
    """Return the command `make`, with the environment of these tests in the place of .venv."""
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / ".installed").touch()
    optim = environment / "bin" / "optim"
    optim.write_text(f'#!/bin/sh\nexec {sys.executable} -m app.cli "$@"\n')
    optim.chmod(0o755)
    return ["make", "--no-print-directory", f"VENV={environment}"]


def test_a_backup_of_the_embedded_store_is_restored(tmp_path: Path, make: list[str]) -> None:
    store, copy = tmp_path / "store", tmp_path / "copy"

    def run(line: str) -> "subprocess.CompletedProcess[str]":
        words = shlex.split(line.replace("PATH", str(store)).replace("COPY", str(copy)))
        assert words[0] == "make"
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
        return subprocess.run(
            [*make, *words[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    backup, restore = lines("Of the embedded store")
    server = ServerProcess(f"lmdb:{store}", tmp_path / "log", options=["--compute-threads=1"])
    server.start()
    client = Client(server.url)
    try:
        steps, later, deleted = rehearse(client, server.url, run, backup)
        assert "is not empty, and nothing is overwritten" in run(backup).stderr
        assert "a service has" in run(restore).stderr
        server.terminate()
        server.wait()
        assert "is not empty, and nothing is overwritten" in run(restore).stderr
        shutil.move(store, tmp_path / "before")
        said = run(restore)
        assert f"restored {copy} to {store}: {SESSIONS + 1} sessions" in said.stdout, said.stderr
        server.start()
        steps.check(later, deleted)
    finally:
        client.close()
        server.kill()
    assert "say where to: make backup" in run("make backup STORE=lmdb:PATH").stderr


def test_a_backup_of_the_compose_stack_is_restored(tmp_path: Path, make: list[str]) -> None:
    compose, copy = Compose(tmp_path), tmp_path / "copy"

    def run(line: str) -> "subprocess.CompletedProcess[str]":
        words = shlex.split(line.replace("FILE", str(copy)))
        return compose.run(*(make if words[0] == "make" else words[:1]), *words[1:])

    backup, stop, move_away, restore, start = lines("Of the compose stack")
    assert (stop, start) == ("docker compose stop", "docker compose up --detach --wait")
    server = ServerProcess(compose.redis.start().url, tmp_path / "log", options=["--compute-threads=1"])
    client = Client(server.url)
    try:
        server.start()
        steps, later, deleted = rehearse(client, server.url, run, backup)
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert not (compose.volume / "dump.rdb").exists()
        assert "already exists, and nothing is overwritten" in run(backup).stderr
        assert "stop the services first: docker compose stop" in run(restore).stderr
        server.kill()
        compose.redis.terminate()
        assert "the volume has sessions already" in run(restore).stderr
        assert run(move_away).returncode == 0
        said = run(restore)
        assert f"restored {copy}: {copy.stat().st_size} bytes" in said.stdout, said.stderr
        compose.redis.start()
        server.start()
        steps.check(later, deleted)
        server.kill()
        compose.redis.kill()
        compose.redis.start()  # what was stepped since is in the append-only file
        server.start()
        with Client(server.url) as client:
            for session_id, digests in steps.digests.items():
                assert client.sessions.get(session_id).digest == digests[-1]
    finally:
        client.close()
        server.kill()
        compose.redis.kill()


def test_a_snapshot_that_redis_cannot_write_is_no_backup(tmp_path: Path) -> None:
    compose, copy = Compose(tmp_path), tmp_path / "copy"
    compose.redis.start()
    try:
        (compose.volume / "dump.rdb").mkdir()
        (compose.volume / "dump.rdb" / "in the way").touch()
        said = compose.run("sh", "compose-store.sh", "backup", str(copy))
        assert said.returncode == 1
        assert said.stderr.endswith("nothing was backed up\n")
        assert {file.name for file in tmp_path.iterdir()} == {"volume", "bin"}
    finally:
        compose.redis.kill()


def test_a_machine_without_compose_is_told_what_it_lacks(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'unknown command' >&2\nexit 125\n")
    docker.chmod(0o755)
    command = ["/bin/sh", "compose-store.sh", "backup", str(tmp_path / "file")]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert said.stderr.startswith("compose-store.sh: `docker compose` does not run here: it needs Docker with its")
    assert not (tmp_path / "file").exists()
