"""`kill -9` of the server under a client in shared memory: acknowledged steps survive, once, to the bit."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import AsyncClient, Client, _protocol

from tests.chaos.trial import Trial
from tests.client.blocking import Blocking
from tests.region_client import metric
from tests.unix_service import unix_process

SHAPES = {"w": 300_000, "bias": 9}
"""More than 1 MiB of float32: smaller steps take no region."""
LEASED = 'optim_regions_total{outcome="leased"}'
REPLAYED = 'optim_steps_total{outcome="replayed"}'
WAIT_SECONDS = 60.0

Params = dict[str, np.ndarray]


class Loop:
    """A training loop in shared memory, beside the same loop in this process, whose results it must have."""

    def __init__(self, client: Any, twin: Client) -> None:
        self._client = client
        self._sessions = [each.sessions.create("adamw", lr=0.01, hold_params=True) for each in (client, twin)]
        for session in self._sessions:
            session.put_params(tensors(0))
        self._made: Params = {}
        self.steps = 0

    def step(self) -> None:
        """Take a step by gradients that are made in a region, or by others. After a kill, they are made anew."""
        session, twin = self._sessions
        grads = tensors(self.steps + 1)
        if self.steps % 4 == 0:
            self._made = self._client.empty(SHAPES)
        for name, array in grads.items():
            self._made[name][:] = array
        params = session.step(grads=grads if self.steps % 4 == 3 else self._made)
        assert bits(params) == bits(twin.step(grads=grads)), self.steps + 1
        self.steps += 1

    def check(self) -> None:
        """Compare what the service has kept with what was acknowledged."""
        session, twin = self._sessions
        assert session.get().step == self.steps
        assert [row.step for row in session.history()] == list(range(1, self.steps + 1))
        assert bits(session.params()) == bits(twin.params())
        assert session.digest == twin.digest


class Killer:
    """A thread that kills a server under a loop, at random moments, and starts it again."""

    def __init__(self, trial: Trial, folder: Path, kills: int) -> None:
        self.loop: Loop | None = None
        self.over = threading.Event()
        """Set once the last server is up, or the test has failed."""
        self._ended = threading.Event()
        self._trial, self._folder, self._kills = trial, folder, kills
        self._server = threading.Thread(target=self._run)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the servers; the last one lives until the end."""
        self._server.start()
        try:
            yield
        finally:
            self.over.set()
            self._ended.set()
            self._server.join()

    def _run(self) -> None:
        try:
            for _ in range(self._kills):
                if not self.over.is_set():
                    self._live_and_die()
            with unix_process(self._folder, f"--store=lmdb:{self._folder}/store"):
                self.over.set()
                self._ended.wait()
        finally:
            self.over.set()

    def _live_and_die(self) -> None:
        with unix_process(self._folder, f"--store=lmdb:{self._folder}/store") as server:
            self._wait_for_steps(5)
            for words, name in {"regions": LEASED, "steps saved before a kill and sent again": REPLAYED}.items():
                self._trial.tried[words] += int(metric(f"unix://{self._folder}/socket", name))
            self.over.wait(self._trial.random.uniform(0, 0.1))
            server.kill()
            self._trial.tried["kills"] += 1

    def _wait_for_steps(self, count: int) -> None:
        begun, deadline = self.loop.steps if self.loop else 0, time.monotonic() + WAIT_SECONDS
        while (self.loop is None or self.loop.steps < begun + count) and not self.over.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.005)


def sync_client(url: str, _: ExitStack) -> Any:
    return Client(url)


def async_client(url: str, stack: ExitStack) -> Any:
    return Blocking(AsyncClient(url), stack.enter_context(asyncio.Runner()))


@pytest.mark.requirement("R1", "R2")
@pytest.mark.parametrize("connect", [pytest.param(sync_client, id="sync"), pytest.param(async_client, id="async")])
@pytest.mark.long
def test_kills_of_the_server_lose_no_step_in_shared_memory(
    trial: Trial, connect: Callable[[str, ExitStack], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_protocol, "FIRST_WAIT_SECONDS", 0.01)
    killer = Killer(trial, tmp_path, trial.times(quick=1, whole=25))
    with killer.running(), ExitStack() as stack, Client("memory:") as twin:
        client = stack.enter_context(closing(connect(f"unix://{tmp_path}/socket", stack)))
        killer.loop = loop = Loop(client, twin)
        while not killer.over.is_set():
            loop.step()
        loop.check()
    assert trial.tried["kills"]
    assert trial.tried["regions"] >= trial.tried["kills"]
    trial.tried["acknowledged steps"] += loop.steps


def tensors(number: int) -> Params:
    draw = np.random.default_rng(number).standard_normal
    return {name: draw(size, np.float32) for name, size in SHAPES.items()}


def bits(params: Params) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in params.items()}
