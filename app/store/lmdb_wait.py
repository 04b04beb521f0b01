"""The event loop's wait for a future of another thread."""

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Wait(Generic[Result]):
    """A wait of the running event loop, which is woken once: `asyncio.wrap_future` and `shield` make three turns.

    Made before the thread starts on the future, it leaves the loop nothing to do but sleep while the thread wakes up.
    Who awaits the result should not hold the future: its error's traceback would have the frame that holds it.
    """

    def __init__(self, future: "Future[Result]") -> None:
        self._future = future
        self._loop = asyncio.get_running_loop()
        self._waiting = self._loop.create_future()
        future.add_done_callback(self._wake)

    async def result(self) -> Result:
        """Return the future's result or raise its error. If cancelled, raise `CancelledError` once it is done."""
        cancelled: asyncio.CancelledError | None = None
        while not self._future.done():
            try:
                await self._waiting
            except asyncio.CancelledError as error:
                cancelled = error
                self._waiting = self._loop.create_future()
        try:
            if cancelled is not None:
                raise cancelled
            return self._future.result()
        finally:
            del self._future, cancelled  # both lead back here: a circle would keep them until a garbage collection

    def _wake(self, _: "Future[Result]") -> None:
        with suppress(RuntimeError):  # of a loop that is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self._waiting.done():
            self._waiting.set_result(None)
