"""The requests that wait for a round to close: woken at once by this process, and by looks at the store for others.

Knows no HTTP and no store.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from app.errors import ServiceError
from app.web.phases import CURRENT

LOOK_SECONDS = 0.05
"""The time between two looks at the store for the rounds that other processes close."""

NextRound = Callable[[str], Awaitable[int | None]]
"""The number of a session's next round, as the store has it; `None` if the session is gone."""


class Waiter:
    """One request that may wait for a round. It misses no close that comes after it was made."""

    def __init__(self, waiting: "Waiting", session_id: str, round_number: int) -> None:
        self._waiting = waiting
        self._woken = asyncio.Event()
        self.session_id = session_id
        self.round_number = round_number

    async def wait(self, seconds: float) -> None:
        """Return when the round has closed, the session is gone, the service stops, or after so many seconds."""
        if self._waiting.is_over or seconds <= 0:
            return
        with self._waiting.looks_at(self.session_id), suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        CURRENT.get().skip()

    def wake(self, next_round: int | None) -> None:
        """Wake it if the next round is a later one, or if there is none."""
        if next_round is None or self.round_number < next_round:
            self._woken.set()


class Waiting:
    """The waiting requests of all sessions. One task looks at the store for each session that somebody waits for.

    `next_round` is that look; without one, no other process can close a round.
    """

    def __init__(self, next_round: NextRound | None) -> None:
        self._next_round = next_round
        self._waiters: dict[str, set[Waiter]] = {}
        self._looks: dict[str, tuple[asyncio.Task[None], int]] = {}
        """The task that looks, and how many wait for what it sees."""
        self.is_over = False

    @contextmanager
    def for_round(self, session_id: str, round_number: int) -> Iterator[Waiter]:
        """Yield a waiter for that round."""
        waiter = Waiter(self, session_id, round_number)
        waiters = self._waiters.setdefault(session_id, set())
        waiters.add(waiter)
        try:
            yield waiter
        finally:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[session_id]

    def wake(self, session_id: str, next_round: int | None) -> None:
        """Wake those who wait for a round before that one; all with `None`: the session or what waited is gone."""
        for waiter in self._waiters.get(session_id, ()):
            waiter.wake(next_round)

    def end(self) -> None:
        """Wake all, and let nobody wait any more: the service stops."""
        self.is_over = True
        for session_id in self._waiters:
            self.wake(session_id, None)

    @contextmanager
    def looks_at(self, session_id: str) -> Iterator[None]:
        """Look at the store for the rounds of a session within the block."""
        if self._next_round is None:
            yield
            return
        task, users = self._looks.get(session_id) or (asyncio.create_task(self._look(self._next_round, session_id)), 0)
        self._looks[session_id] = task, users + 1
        try:
            yield
        finally:
            task, users = self._looks[session_id]
            self._looks[session_id] = task, users - 1
            if users == 1:
                del self._looks[session_id]
                task.cancel()

    async def _look(self, next_round: NextRound, session_id: str) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(ServiceError):  # the store may be back at the next look
                self.wake(session_id, await next_round(session_id))
