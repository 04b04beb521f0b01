"""Objects that belong to an event loop, such as semaphores: another `asyncio.run` needs others."""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """An object for each event loop, made by `make` when the loop first asks; those of closed loops are dropped."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.forget()

    def forget(self) -> dict[asyncio.AbstractEventLoop, T]:
        """Drop all objects and return them. Waits for no lock, because a forked process calls it."""
        before = getattr(self, "_made", {})
        self._made: dict[asyncio.AbstractEventLoop, T] = {}
        self._lock = threading.Lock()
        return before

    def get(self) -> T:
        """Return the running loop's object."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._made:
                self._made = {each: thing for each, thing in self._made.items() if not each.is_closed()}
                self._made[loop] = self._make()
            return self._made[loop]
