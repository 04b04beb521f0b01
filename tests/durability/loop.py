"""Training loops with a default client. They handle no failure themselves, and must never see one."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from optim_client import AsyncClient, Client

from optim_engine import Config, State, step
from tests.durability.twin import bits

SETTINGS: dict[str, Any] = {"lr": 0.01, "schedule": {"kind": "cosine", "total_steps": 10_000}}

Params = dict[str, np.ndarray]


def gradients(params: Params, number: int) -> Params:
    """Return gradients that depend on the parameters, so that one difference never disappears."""
    draw = np.random.default_rng(number).standard_normal
    return {name: 0.1 * array + draw(array.shape, np.float32) for name, array in params.items()}


class Loop:
    """A training loop that runs until it is told to stop, of a matrix with so many rows of 50."""

    def __init__(self, rows: int = 40, *, is_async: bool = False) -> None:
        self.steps = 0
        self.over = threading.Event()
        weights = np.random.default_rng(0).standard_normal((rows, 50), np.float32)
        self._start = self.params = {"w": weights, "bias": np.zeros(50, np.float32)}
        self._is_async = is_async
        self.id = ""

    def run(self, url: str) -> None:
        """Train until the end."""
        if self._is_async:
            asyncio.run(self._run_async(url))
            return
        with Client(url) as client:
            session = client.sessions.create("adamw", **SETTINGS)
            self.id = session.id
            while not self.over.is_set():
                self.params = session.step(self.params, gradients(self.params, self.steps + 1), loss=0.5)
                self.steps += 1

    async def _run_async(self, url: str) -> None:
        async with AsyncClient(url) as client:
            session = await client.sessions.create("adamw", **SETTINGS)
            self.id = session.id
            while not self.over.is_set():
                self.params = await session.step(self.params, gradients(self.params, self.steps + 1), loss=0.5)
                self.steps += 1

    def check(self, client: Client) -> None:
        """Compare parameters with a run of the engine alone, and find each step once in the history."""
        config = Config.parse("adamw", hyperparameters={"lr": 0.01}, schedule=SETTINGS["schedule"])
        state, params = State.empty(), self._start
        for number in range(1, self.steps + 1):
            outcome = step(config, state, params, gradients(params, number))
            state, params = outcome.state, outcome.params
        assert bits(self.params) == bits(params)
        session = client.sessions.get(self.id, step=self.steps)
        assert [row.step for row in session.history()] == list(range(1, self.steps + 1))


class Running:
    """Loops that run."""

    def __init__(self, loops: Sequence[Loop], runs: Sequence[Future[None]]) -> None:
        self._loops = loops
        self._runs = runs

    def wait_for_steps(self, count: int = 5) -> None:
        """Wait until each loop has taken so many more steps. Raises the error of a loop."""
        before = [loop.steps for loop in self._loops]
        while any(loop.steps < steps + count for loop, steps in zip(self._loops, before, strict=True)):
            for run in self._runs:
                if run.done():
                    run.result()
            time.sleep(0.01)


@contextmanager
def running(loops: Sequence[Loop], url: str) -> Iterator[Running]:
    """Run the loops for a block, and check them all at its end, through the same address."""
    with ThreadPoolExecutor(len(loops)) as threads:
        runs = [threads.submit(loop.run, url) for loop in loops]
        try:
            yield Running(loops, runs)
        finally:
            for loop in loops:
                loop.over.set()
        for run in runs:
            run.result()
    with Client(url) as client:
        for loop in loops:
            loop.check(client)
