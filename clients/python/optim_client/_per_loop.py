"""One thing for each event loop: what waits in one is of no use in the next one, after another `asyncio.run`."""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Made by `make` when a loop first asks for it; those of loops that are closed are let go."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.forget()

    def forget(self) -> dict[asyncio.AbstractEventLoop, T]:
        """Begin anew, and return what there was. Waits for no lock, for it is called in a forked process."""
        before = getattr(self, "_made", {})
        self._made: dict[asyncio.AbstractEventLoop, T] = {}
        self._lock = threading.Lock()
        return before

    def get(self) -> T:
        """Return the running loop's."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._made:
                self._made = {each: thing for each, thing in self._made.items() if not each.is_closed()}
                self._made[loop] = self._make()
            return self._made[loop]
