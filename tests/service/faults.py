"""Stores with one fault each."""

import asyncio
import re
from dataclasses import replace

from app.store.base import Head, Save
from app.store.memory import MemoryStore
from app.store.stamp import VersionConflict


class FailingStore(MemoryStore):
    """Fails with `error` where a session is loaded, once there is one."""

    error: Exception | None = None

    async def load(self, session_id: str) -> Head | None:
        if self.error is not None:
            raise self.error
        return await super().load(session_id)


class BusyStore(MemoryStore):
    """Another writer is always quicker, but for the first save of a session."""

    async def save(self, save: Save) -> None:
        if save.previous is not None:
            raise VersionConflict
        await super().save(save)


class DamagedStore(MemoryStore):
    """Gives back other bytes than it was given."""

    async def save(self, save: Save) -> None:
        await super().save(save)
        for views in self._states.values():
            for name, data in views.by_name.items():
                views.by_name[name] = bytes(len(data))


class ForgedStore(MemoryStore):
    """Says of each step that it was answered with other parameters."""

    async def save(self, save: Save) -> None:
        document = re.sub(rb'"params_digest":"[0-9a-f]{32}"', b'"params_digest":"another"', save.head.document)
        await super().save(replace(save, head=replace(save.head, document=document)))


class SlowStore(MemoryStore):
    """Saves steps when it is told to go on."""

    is_instant = False

    def __init__(self) -> None:
        super().__init__(10)
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def save(self, save: Save) -> None:
        if save.row:
            self.begun.set()
            await self.go_on.wait()
        await super().save(save)
