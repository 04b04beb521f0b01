"""The turns of an async session: `_turn.py` with `await`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import SupportsIndex

from optim_client._per_loop import PerLoop
from optim_client._turn import Steppable, Steps, explain
from optim_client.errors import StepConflict


class AsyncTurn(Steps):
    """A session's turn, for many tasks: the next call waits for the end of the one before."""

    def after_fork(self) -> None:
        """Forget the calls that are under way: they are the parent's."""
        super().after_fork()
        self._turns = PerLoop(asyncio.Lock)

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Wait for the session's turn, and hold it."""
        async with self._turns.get():
            yield

    @asynccontextmanager
    async def step(self, session: Steppable, number: SupportsIndex | None = None) -> AsyncIterator[None]:
        """Hold the session's turn for the step of that number, else for its next one. Raises `StepUnderWay`."""
        own = object()
        try:
            self._begin(own, session.info)
            async with self._turns.get():
                yield
        except StepConflict as conflict:
            explain(conflict, number or session.info.step + 1)
            raise
        finally:
            if own in self._begun:
                self._begun.remove(own)
