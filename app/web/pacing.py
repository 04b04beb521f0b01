"""A crowd's requests are begun a few in each turn of the event loop, so that nobody who asks whether the service lives
stands behind all of them. Knows nothing of HTTP.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection

BEGUN_IN_A_TURN = 2
"""To begin one takes about half a millisecond of the loop's time; what is begun and waits takes none."""


class Pace:
    """That of one event loop. What is asked for by a path in `urgent` is begun at once."""

    def __init__(self, urgent: Collection[str]) -> None:
        self._urgent = urgent
        self._waiting: deque[Callable[[], None]] = deque()
        self._begun = 0
        """In this turn."""

    def begin(self, path: str, start: Callable[[], None]) -> bool:
        """Call `start`: now, or, where that is false, in a turn to come, after those that came before."""
        if path in self._urgent:
            start()
            return True
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._turn)
        if self._begun == BEGUN_IN_A_TURN:
            self._waiting.append(start)
            return False
        self._begun += 1
        start()
        return True

    def _turn(self) -> None:
        self._begun = min(BEGUN_IN_A_TURN, len(self._waiting))
        if self._begun:
            asyncio.get_running_loop().call_soon(self._turn)
        for _ in range(self._begun):
            self._waiting.popleft()()
