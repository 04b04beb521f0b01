"""Backup, restore and a move as docs/operating.md tells an operator to do them, on stores in use."""

import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from optim_client import Client, SessionNotFound, StateLost

from tests.amounts import times
from tests.command import Optim
from tests.compose import Compose
from tests.docs.blocks import blocks, read
from tests.docs.moved import Moved
from tests.durability.processes import ServerProcess
from tests.servers import RedisServer

GRADS = [{"w": np.random.default_rng(n).standard_normal(40_000, np.float32)} for n in range(400)]
"""The gradients of each step, so that it can be taken again."""
SESSIONS = 4
PAUSE_SECONDS = 0.02
"""The pause of each session after a step: the backup needs the processor, too."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


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
                with pytest.raises(StateLost) as lost:
                    self._ahead[session_id].step(grads=GRADS[len(digests) - 1])
                assert lost.value.current_step == step
                for number in range(step, len(digests) - 1):
                    session.step(grads=GRADS[number])
                    assert session.digest == digests[number + 1]
                    behind += 1
            assert behind > 0
            with pytest.raises(SessionNotFound):
                client.sessions.get(later)
            assert client.sessions.get(deleted).info.step == 0


def lines(title: str) -> list[str]:
    """Return the commands of the section, one a line."""
    text = read("docs/operating.md")
    start = re.search(rf"^#+ {title}$", text, re.MULTILINE)
    assert start
    below = re.split(r"^#+ ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
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


@contextmanager
def serving(store: str, log: Path) -> Iterator[str]:
    """Run a service on the store within the block, and stop it as an operator does."""
    server = ServerProcess(store, log, options=["--compute-threads=1"])
    server.start()
    try:
        yield server.url
        server.terminate()
        server.wait()
    finally:
        server.kill()


@pytest.fixture
def run(optim: Optim) -> Run:
    """Return a function that runs an operator's command, with values in the place of words."""

    def run(line: str, **values: object) -> "subprocess.CompletedProcess[str]":
        for word, value in values.items():
            line = line.replace(word, str(value))
        program, *words = shlex.split(line)
        assert program == "optim"
        return subprocess.CompletedProcess(words, *optim(*words))

    return run


@pytest.mark.long
def test_a_backup_of_the_embedded_store_is_restored(tmp_path: Path, run: Run) -> None:
    store = tmp_path / "store"
    run = partial(run, FOLDER=tmp_path / "copy", URL=f"lmdb:{store}")
    backup, verify, restore = lines("Backup and restore")
    server = ServerProcess(f"lmdb:{store}", tmp_path / "log", options=["--compute-threads=1"])
    server.start()
    client = Client(server.url)
    try:
        steps, later, deleted = rehearse(client, server.url, run, backup)
        assert "is not empty, and nothing is overwritten" in run(backup).stderr
        assert run(verify).stdout.startswith(f"verified {tmp_path / 'copy'}: {SESSIONS + 1} sessions")
        assert "a service has" in run(restore).stderr
        server.terminate()
        server.wait()
        assert "is not empty, and nothing is overwritten" in run(restore).stderr
        shutil.move(store, tmp_path / "before")
        said = run(restore)
        assert f"restored {tmp_path / 'copy'} to lmdb:{store}: {SESSIONS + 1} sessions" in said.stdout, said.stderr
        server.start()
        steps.check(later, deleted)
    finally:
        client.close()
        server.kill()


def test_one_session_is_taken_back_from_a_backup(tmp_path: Path, run: Run) -> None:
    restore, serve, export, load = lines("One session")
    assert serve == "optim serve --store lmdb:PATH --port 8001"
    values = {"FOLDER": tmp_path / "copy", "PATH": tmp_path / "back", "FILE": tmp_path / "file"}
    with serving(f"lmdb:{tmp_path / 'store'}", tmp_path / "log") as url, Client(url) as client:
        session = client.sessions.create("adam", hold_params=True)
        w = {"w": np.ones(3, np.float32)}
        session.step(w, w)
        digest = session.digest
        assert run(f"optim backup FOLDER --store lmdb:{tmp_path / 'store'}", **values).returncode == 0
        session.step(grads=w)
        assert run(restore, **values).returncode == 0
        with serving(f"lmdb:{tmp_path / 'back'}", tmp_path / "other log") as other:
            said = run(export, ID=session.id, **values, **{"http://127.0.0.1:8001": other})
            assert said.returncode == 0, said.stderr
        said = run(load, ID=session.id, **values, **{"http://127.0.0.1:8000": url})
        assert said.returncode == 0, said.stderr
        assert client.sessions.get(session.id).digest == digest


@pytest.mark.long
def test_a_backup_of_the_compose_stack_is_restored(tmp_path: Path) -> None:
    compose = Compose(tmp_path)
    make, backup, stop, move_away, start_redis, restore, start = lines("In containers")
    assert (stop, start) == ("docker compose stop", "docker compose up --detach --wait")
    assert start_redis == f"{start} redis"
    server = ServerProcess(compose.redis.start().url, tmp_path / "log", options=["--compute-threads=1"])
    client = Client(server.url)
    try:
        server.start()
        assert compose.run(make).returncode == 0
        steps, later, deleted = rehearse(client, server.url, compose.run, backup)
        assert stat.S_IMODE((tmp_path / "copies" / "FOLDER").stat().st_mode) == 0o700
        server.kill()
        assert "is not empty, and nothing is overwritten" in compose.run(restore).stderr
        compose.redis.terminate()
        assert compose.run(move_away).returncode == 0
        compose.redis.start()
        said = compose.run(restore)
        assert f"{SESSIONS + 1} sessions" in said.stdout, said.stderr
        server.start()
        steps.check(later, deleted)
        server.kill()
        compose.redis.kill()
        compose.redis.start()  # what was restored and stepped since is in the append-only file
        server.start()
        with Client(server.url) as client:
            for session_id, digests in steps.digests.items():
                assert client.sessions.get(session_id).digest == digests[-1]
    finally:
        client.close()
        server.kill()
        compose.redis.kill()


@pytest.mark.campaign
@pytest.mark.parametrize("kinds", [("lmdb", "redis"), ("redis", "lmdb")][: times(quick=1, whole=2)])
@pytest.mark.long
def test_a_service_moves_between_kinds_of_stores(
    tmp_path: Path, run: Run, own_redis: RedisServer, kinds: tuple[str, str]
) -> None:
    old, new = (own_redis.url if kind == "redis" else f"lmdb:{tmp_path / 'store'}" for kind in kinds)
    backup, restore, serve = lines("Moving to another store")
    assert serve == "OPTIM_STORE=NEW optim serve"
    with serving(old, tmp_path / "old log") as url:
        moved = Moved(url)
        before = dict(moved.last)
    for line in (backup, restore):
        said = run(line, FOLDER=tmp_path / "copy", OLD=old, NEW=new)
        assert (said.returncode, said.stderr) == (0, "")
    with serving(old, tmp_path / "old log") as moved.url:
        digests = moved.step_all()
    moved.last = before
    with serving(new, tmp_path / "new log") as moved.url:
        moved.check()
        assert moved.step_all() == digests
        moved.undo_all()
