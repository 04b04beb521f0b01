"""Pacing for the requests of one event loop. Knows nothing of HTTP.

Starts at most two queued requests per event-loop turn, so that a burst cannot delay `/livez`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection

STARTED_PER_TURN = 2
"""To start one takes about half a millisecond of the loop's time; to wait takes none."""


class Pacing:
    """The queue of requests that wait to be started. Those for a path in `urgent` start at once."""

    def __init__(self, urgent: Collection[str]) -> None:
        self._urgent = urgent
        self._waiting: deque[Callable[[], None]] = deque()
        self._started = 0
        """In this turn."""

    def begin(self, path: str, start: Callable[[], None]) -> bool:
        """Call `start` now and return true, or queue it for a later turn and return false."""
        if path in self._urgent:
            start()
            return True
        if not self._started:
            asyncio.get_running_loop().call_soon(self._turn)
        if self._started == STARTED_PER_TURN:
            self._waiting.append(start)
            return False
        self._started += 1
        start()
        return True

    def _turn(self) -> None:
        self._started = min(STARTED_PER_TURN, len(self._waiting))
        if self._started:
            asyncio.get_running_loop().call_soon(self._turn)
        for _ in range(self._started):
            self._waiting.popleft()()
