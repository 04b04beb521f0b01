"""A checksum that is taken part by part, while others work on the bytes: they are then in the processor's cache."""

import threading
from typing import Any


class RunningChecksum:
    """The checksum of `data`, by a hash that can be updated. Any thread may take the next part."""

    def __init__(self, data: memoryview, checksum: Any) -> None:
        self.data = data
        self._checksum = checksum
        self._taken = self._due = 0
        self._taking = threading.Lock()

    def advance(self, end: int) -> None:
        """Take the bytes before `end`, which are final; leave them to the thread that is taking others."""
        self._due = max(self._due, end)
        while self._taken < self._due and self._taking.acquire(blocking=False):
            try:
                self._take(self._due)
            finally:
                self._taking.release()

    def whole(self) -> Any:
        """Return the hash of all bytes, those that are left among them."""
        with self._taking:
            self._take(len(self.data))
        return self._checksum

    def _take(self, end: int) -> None:
        if end > self._taken:
            self._checksum.update(self.data[self._taken : end])
            self._taken = end
