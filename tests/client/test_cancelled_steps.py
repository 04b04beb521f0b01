"""Steps that are cancelled, timed out or interrupted at many points: the next one is right, on real services.

Every step's gradient is 1, or 2, with lr=1, so the parameters count what was applied. The gradients are overwritten as
soon as the call has ended: a request that could still be read then would be another one.
"""

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from optim_client import AsyncClient, AsyncSession, Client, Session, StepConflict

from app.demo.server import Server
from tests.amounts import times
from tests.client.documents import W
from tests.client.scripted import BUSY, SESSION_ANSWER, STEPPED, Answer, ScriptedServer
from tests.unix_service import unix_service

SIZES = {"small": 3, "large": 400_000}
"""Elements: a large step over a Unix socket lies in shared memory."""
POINTS = times(quick=30, whole=1000)
LONGEST_SECONDS = {"small": 0.004, "large": 0.02}
OTHER = 99.0
"""The value that gradients have once their call has ended."""


@pytest.fixture(scope="module")
def urls(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with unix_service(tmp_path_factory.mktemp("u")) as url:
        yield {"tcp": server.url, "unix": url, "memory": "memory:"}


def grads_of(client: Any, value: float, size: int) -> dict[str, Any]:
    """Return gradients in the client's own memory."""
    grads: dict[str, Any] = client.empty({"w": size})
    grads["w"][:] = value
    return grads


def points(size: str) -> Iterator[float]:
    """Yield the seconds after which a call ends, from before it sends to after its answer."""
    yield from np.linspace(1e-5, LONGEST_SECONDS[size], POINTS).tolist()


class Counted:
    """A session's parameters, which count what was applied."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.applied = 0.0

    def expect(self, params: Any, value: float) -> None:
        """Check that one gradient of that value was applied, and nothing else."""
        self.applied += value
        assert params["w"].tolist() == [-self.applied] * self.size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["tcp", "unix", "memory"])
@pytest.mark.long
async def test_a_step_repeated_after_a_timeout_is_applied_once(kind: str, size: str, urls: dict[str, str]) -> None:
    counted = Counted(SIZES[size])
    async with AsyncClient(urls[kind]) as client:
        session = await held_async(client, counted.size)
        for number, seconds in enumerate(points(size), 1):
            grads = await client.empty({"w": counted.size})
            grads["w"][:] = 1
            try:
                async with asyncio.timeout(seconds):
                    params = await session.step(grads=grads)
            except TimeoutError:
                grads["w"][:] = OTHER
                params = await session.step(grads={"w": np.ones(counted.size, np.float32)})
            counted.expect(params, 1)
            assert session.info.step == number
        assert (await session.get()).step == POINTS


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["tcp", "unix", "memory"])
@pytest.mark.long
async def test_other_gradients_after_a_cancelled_step_conflict_or_count(
    kind: str, size: str, urls: dict[str, str]
) -> None:
    counted = Counted(SIZES[size])
    async with AsyncClient(urls[kind]) as client:
        session = await held_async(client, counted.size)
        for seconds in points(size):
            grads = await client.empty({"w": counted.size})
            grads["w"][:] = 1
            step = asyncio.create_task(session.step(grads=grads))
            await asyncio.sleep(seconds)
            step.cancel()
            [got] = await asyncio.gather(step, return_exceptions=True)
            grads["w"][:] = OTHER
            if not isinstance(got, asyncio.CancelledError):
                counted.expect(got, 1)
            try:
                params = await session.step(grads={"w": np.full(counted.size, 2, np.float32)})
                counted.expect(params, 2)
            except StepConflict as conflict:
                said = (conflict.current_step, "was taken before" in conflict.__notes__[0])
                assert said == (session.info.step + 1, isinstance(got, asyncio.CancelledError))
                await session.get()
                counted.expect(await session.params(), 1)
        assert (await session.get()).step == session.info.step


async def held_async(client: AsyncClient, size: int) -> AsyncSession:
    session = await client.sessions.create("sgd", lr=1.0, hold_params=True)
    await session.put_params({"w": np.zeros(size, np.float32)})
    return session


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """Let the alarm raise KeyboardInterrupt, as Ctrl-C does."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore:coroutine '_Service._exchange' was never awaited")  # interrupted before its begin
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # interrupted within a finalizer
@pytest.mark.usefixtures("_interrupts")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["tcp", "unix", "memory"])
def test_a_step_repeated_after_an_interrupt_is_applied_once(kind: str, size: str, urls: dict[str, str]) -> None:
    counted = Counted(SIZES[size])
    with Client(urls[kind]) as client:
        session = held(client, counted.size)
        for number, seconds in enumerate(points(size), 1):
            grads, params = grads_of(client, 1, counted.size), None
            try:
                signal.setitimer(signal.ITIMER_REAL, seconds)
                params = session.step(grads=grads)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                grads["w"][:] = OTHER
            if session.info.step < number:
                params = session.step(grads={"w": np.ones(counted.size, np.float32)})
            counted.expect(params or session.params(), 1)
            assert session.info.step == number
        assert session.get().step == POINTS


def held(client: Client, size: int) -> Session:
    session = client.sessions.create("sgd", lr=1.0, hold_params=True)
    session.put_params({"w": np.zeros(size, np.float32)})
    return session


async def test_a_step_cancelled_in_a_wait_is_sent_again_later() -> None:
    script = SESSION_ANSWER, BUSY, Answer(503, BUSY.body, {"Retry-After": "60"}), STEPPED
    with ScriptedServer(*script) as server:
        async with AsyncClient(server.url) as client:
            session = await client.sessions.get("s-1")
            step = asyncio.create_task(session.step(W, W))
            while len(server.seen) < 3:  # noqa: ASYNC110 (the server is a thread)
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            step.cancel()
            with pytest.raises(asyncio.CancelledError):
                await step
            assert np.array_equal((await session.step(W, W))["w"], W["w"])
            assert session.info.step == 42
    assert server.seen[-1].body == server.seen[1].body


async def test_a_step_cancelled_before_its_turn_sends_nothing(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        session = await held_async(client, 3)
        first = asyncio.create_task(session.step(grads={"w": np.ones(3, np.float32)}))
        second = asyncio.create_task(session.step(grads={"w": np.ones(3, np.float32)}))
        await asyncio.sleep(0)
        second.cancel()
        assert (await first)["w"].tolist() == [-1] * 3
        assert (await session.step(grads={"w": np.ones(3, np.float32)}))["w"].tolist() == [-2] * 3
        assert (await session.get()).step == 2
