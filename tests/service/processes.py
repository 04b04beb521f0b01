"""Processes of the service that share a store, without HTTP."""

import numpy as np

from app.cache import StateCache
from app.compute import Compute
from app.once import Once
from app.quota import Quota
from app.records import Records
from app.room import Room
from app.sessions import Sessions
from app.step import StepRequest
from app.stepping import Stepping
from app.store.base import Head, Save, Store
from app.store.memory import MemoryStore
from app.turns import Turns
from optim_engine import Config


class Counting(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__(100)
        self.loads = self.reads = self.saves = 0

    async def load(self, known: str) -> Head | None:
        self.loads += 1
        return await super().load(known)

    async def read(self, head: Head, into: memoryview) -> None:
        self.reads += 1
        await super().read(head, into)

    async def save(self, save: Save) -> None:
        self.saves += 1
        await super().save(save)

    def counted(self) -> tuple[int, int, int]:
        """Loads, reads and saves since the last call."""
        counted = self.loads, self.reads, self.saves
        self.loads = self.reads = self.saves = 0
        return counted


class Process:
    """A process of the service, as far as a store can tell one from another."""

    def __init__(self, store: Store, cache: StateCache | None = None) -> None:
        self.compute = Compute(1)
        self.records = Records(store, self.compute, cache or StateCache(1 << 30), Quota(store))
        turns = Turns()
        self.sessions = Sessions(self.records, turns, self.compute, ROOM)
        self.stepping = Stepping(self.records, turns, self.compute, ROOM)


def request(step: int | None, value: float = 1.0, *, size: int = 2) -> StepRequest:
    grads, params = {"w": np.full(size, value, np.float32)}, {"w": np.ones(size, np.float32)}
    return StepRequest(grads, Once("POST …/steps", f"{step} {value} {size}"), params, step)


ROOM = Room(10_000, 1 << 40, 1 << 40)
CREATION = Once("POST /v1/sessions")
SKIPS = Config.parse("adamw", on_non_finite="skip")
