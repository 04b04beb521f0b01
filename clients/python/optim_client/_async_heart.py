"""The renewals of a worker's lease, by a task: `_heart.py` with `await`."""

import asyncio
import weakref
from contextlib import suppress
from typing import Any

from optim_client._async_storage import AsyncCaller
from optim_client._protocol import Call
from optim_client.errors import NotFound, OptimError, WorkerFenced


class AsyncHeart:
    """The task of one worker at a time, in the event loop in which that has joined."""

    def __init__(self, client: AsyncCaller) -> None:
        self._client = client
        self._task: asyncio.Task[None] | None = None

    async def start(self, owner: object, renew: Call[Any], seconds: float) -> None:
        """Make the call every so many seconds, as long as `owner` lives."""
        await self.stop()
        once = self._client.with_options(max_retries=0, timeout=seconds)
        loop = asyncio.get_running_loop()
        self._task = task = loop.create_task(_beat(once, renew, seconds))
        weakref.finalize(owner, _cancel, loop, task)

    async def stop(self) -> None:
        """End the task."""
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            task.cancel()
            await asyncio.wait([task])


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    """Cancel the task, from whichever thread collects its worker."""
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(task.cancel)


async def _beat(client: AsyncCaller, renew: Call[Any], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await client._run(renew)
        except (WorkerFenced, NotFound, RuntimeError):  # another process has the name, or the client is closed
            return
        except OptimError:
            continue
