"""Sessions that are saved without a pause, each by its own task, and what was acknowledged of each."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from app.errors import StoreUnavailable
from app.store.base import Store
from app.store.stamp import VersionConflict
from tests.store.changes import row, saved, state_of


def parts_of(version: int) -> list[bytes]:
    return [b"%d" % version, b"always the same"]


class Savers:
    """The tasks, which run within `async with`. A save without an answer may have been done: they look, and go on."""

    def __init__(self, store: Store, sessions: int) -> None:
        self._store = store
        self.acknowledged = dict.fromkeys((f"session-{i}" for i in range(sessions)), 0)
        self.failures: list[StoreUnavailable] = []
        self._saved = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._save(name)) for name in self.acknowledged]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, _: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until_saved(self, more: int = 1, within: float = 20) -> None:
        """Wait until each session was acknowledged so many times more."""
        goals = {name: version + more for name, version in self.acknowledged.items()}
        async with asyncio.timeout(within):
            while any(self.acknowledged[name] < goal for name, goal in goals.items()):
                self._saved.clear()
                await self._saved.wait()

    async def _save(self, name: str) -> None:
        while True:
            try:
                await self._save_once(name)
            except StoreUnavailable as failure:
                self.failures.append(failure)
                await asyncio.sleep(0.05)
            await asyncio.sleep(0)

    async def _save_once(self, name: str) -> None:
        head = await self._store.load(name)
        version = head.version + 1 if head else 1
        with suppress(VersionConflict):  # one without an answer has arrived meanwhile
            await saved(self._store, head, parts_of(version), session_id=name, row=row(version))
            self.acknowledged[name] = version
            self._saved.set()

    async def check(self) -> None:
        """Assert that each session is whole, has all that was acknowledged, and each save once."""
        for name, version in self.acknowledged.items():
            head = await self._store.load(name)
            assert head
            assert head.version >= version
            assert await state_of(self._store, head) == b"".join(parts_of(head.version))
            rows = await self._store.history(name, 0, 10**6)
            assert rows == [b"row %d" % step for step in range(1, head.version + 1)]
        listed = await self._store.list("tenant-1", 100)
        assert {each.session_id for each in listed} == {*self.acknowledged}
