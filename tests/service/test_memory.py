"""Free memory: buffers that were not used for a while go back to the system."""

import asyncio
from contextlib import suppress

import pytest

from app import memory
from app.compute import Compute
from optim_engine.buffers import Buffers


async def test_idle_buffers_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers, compute = Buffers(), Compute(1)
    monkeypatch.setattr(memory, "BUFFERS", buffers)
    buffers.take(1 << 20)  # and given back at once
    assert buffers.idle_bytes >= 1 << 20
    task = asyncio.create_task(memory.let_go_when_idle(compute, 0.01))
    for _ in range(3000):
        if not buffers.idle_bytes:
            break
        await asyncio.sleep(0.01)
    assert buffers.idle_bytes == 0
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    compute.close()


def test_malloc_may_be_bounded_twice() -> None:
    memory.bound_malloc()
    memory.bound_malloc()
