"""The open event streams of this process: woken by its saves, and by looks at the store for those of others.

A stream keeps no queue. It has a number, and reads the events above that from the store, a page at a time and no faster
than its client takes them. Streams of one session that are at the same number share one read. Knows no HTTP.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from app.errors import Overloaded, ServiceError
from app.store.base import Store
from app.turns import finished
from app.wire.event_text import written

PAGE = 128
"""The most events that are read at once."""
PAUSE_SECONDS = 0.1
"""The time between two reads of a stream. The first event after a while is sent at once, and then those of a quick run
go together: a write for each would cost more than the steps."""
LOOK_SECONDS = 0.5
"""The time between two looks at a session in the store, for all of its streams."""


class Page(NamedTuple):
    """Events above a number, as text. `newest` is the version that was known when they were read."""

    above: int
    newest: int
    last: int
    """The number of the last event; `above` if there is none."""
    text: bytes
    is_full: bool
    """True if there may be more."""


class Watch:
    """The streams of one session, and its newest version that this process knows."""

    def __init__(self, store: Store, session_id: str, newest: int) -> None:
        self.newest = newest
        self.rollbacks, self.went_back_to = 0, newest
        self.is_over = False
        self.users = 0
        self._store = store
        self._session_id = session_id
        self._waiting: set[asyncio.Future[None]] = set()
        self._reading: tuple[int, int, asyncio.Task[Page]] | None = None
        """The last read: its number, the newest version then, and its result."""
        self._looking = asyncio.create_task(self._look())

    def close(self) -> None:
        """Look at the store no more."""
        self._looking.cancel()

    def wake(self, version: int) -> None:
        """Let the streams read on if they have not seen that version."""
        if version > self.newest:
            self.newest = version
            if self._waiting:
                self._wake()

    def _go_back(self, version: int) -> None:
        """Let the streams go on from a version below the newest: a failover or an older backup lost the saves above."""
        self.newest = self.went_back_to = version
        self.rollbacks += 1
        self._reading = None
        self._wake()

    def end(self) -> None:
        """End the streams: the session is gone, or the service stops."""
        self.is_over = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Return at the next version, at the end, or after so many seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=seconds)
        finally:
            self._waiting.discard(waiter)

    async def page(self, above: int) -> Page:
        """Return the events above that number, from the last read if it has them; one stream alone shares none."""
        if self.users == 1:
            return await self._read(above, self.newest)
        known = self._reading
        if known is None or known[:2] != (above, self.newest) or (known[2].done() and known[2].exception()):
            known = self._reading = above, self.newest, asyncio.create_task(self._read(above, self.newest))
        return await finished(known[2])

    async def _read(self, above: int, newest: int) -> Page:
        events = await self._store.newer(self._session_id, above, PAGE)
        last = events[-1].number if events else above
        return Page(above, newest, last, written(events), len(events) == PAGE)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            known = self.newest
            with suppress(ServiceError):  # the store may be back at the next look
                head = await self._store.load(self._session_id)
                if head is None:
                    self.end()
                elif head.version < known == self.newest:
                    self._go_back(head.version)
                else:
                    self.wake(head.version)


class Stream:
    """The events of a session above `number`, for one client."""

    def __init__(self, watch: Watch, number: int) -> None:
        self.number = number
        self._watch = watch
        self._rollbacks = watch.rollbacks
        self._seen = -1
        """The version up to which there are no more events above `number`."""
        self._next_read = 0.0

    async def next(self, seconds: float) -> bytes | None:
        """Return the next events as text, nothing after so many seconds without any, `None` at the end.

        Raises `StoreUnavailable`.
        """
        watch, clock = self._watch, asyncio.get_running_loop().time
        while not watch.is_over:
            if (pause := self._next_read - clock()) > 0:  # first, so that a quick run costs no other wait
                await asyncio.sleep(pause)
                continue
            if self._rollbacks != watch.rollbacks:
                self._rollbacks, self._seen = watch.rollbacks, -1
                self.number = min(self.number, watch.went_back_to)
            if watch.newest == self._seen:
                await watch.wait(seconds)
                if watch.newest == self._seen and not watch.is_over:
                    return b""
                continue
            page = await watch.page(self.number)
            if not page.is_full:
                self._seen, self._next_read = page.newest, clock() + PAUSE_SECONDS
            if page.text:
                self.number = page.last
                return page.text
        return None


class Streams:
    """The open streams of all sessions, at most `limit`."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._open = 0
        self._watches: dict[str, Watch] = {}
        self._is_over = False

    @property
    def count(self) -> int:
        """Return the number of open streams."""
        return self._open

    @contextmanager
    def open(self, session_id: str, version: int, number: int) -> Iterator[Stream]:
        """Yield a stream of a session that is known at that version, from above `number` on. Raises `Overloaded`."""
        if self._open == self._limit:
            raise Overloaded(f"this server process has {self._limit} open streams, the most of OPTIM_MAX_STREAMS")
        self._open += 1
        try:
            with self._watched(session_id, version) as watch:
                yield Stream(watch, number)
        finally:
            self._open -= 1

    @contextmanager
    def _watched(self, session_id: str, version: int) -> Iterator[Watch]:
        watch = self._watches.get(session_id)
        if watch is None:
            watch = self._watches[session_id] = Watch(self._store, session_id, version)
            watch.is_over = self._is_over
        watch.wake(version)
        watch.users += 1
        try:
            yield watch
        finally:
            watch.users -= 1
            if not watch.users:
                watch.close()
                del self._watches[session_id]

    def wake(self, session_id: str, version: int | None) -> None:
        """Wake the streams of a session that was saved with that version; end them with `None`: it is gone."""
        watch = self._watches.get(session_id)
        if watch is None:
            return
        if version is None:
            watch.end()
        else:
            watch.wake(version)

    def end(self) -> None:
        """End all streams, and each new one at once: the service stops."""
        self._is_over = True
        for watch in self._watches.values():
            watch.end()
