"""Every store, and the dictionary that they are held against: the ground of the machine's rules."""

import asyncio
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from app.settings import Settings
from app.store import open_store
from app.store.base import Save, Store
from app.store.generation import ReplacedRow, Undone
from app.store.history import HistoryRow, Mark
from app.store.keys import KeyMemory
from app.store.ledger import LedgerSave
from app.store.stamp import VersionConflict
from tests.chaos.trial import Trial
from tests.store.changes import DAY, undoing, used
from tests.store.dictionary import Dictionary
from tests.stores import STORES

KEPT_ROWS = 4
KEPT_KEYS = 2
KEYS = ("k", "l", "m", "n")
Answer = TypeVar("Answer")

names = st.sampled_from(["a", "b", "ab", "c"])
tenants = st.sampled_from(["tenant-1", "tenant-2"])
states = st.lists(st.sampled_from([b"", b"x", b"y", b"z" * 3000]), max_size=4)
steps = st.integers(0, 5)
maybe_rows = st.none() | steps
maybe_keys = st.none() | st.sampled_from(KEYS)
marks = st.none() | st.builds(Mark, st.sampled_from(["undo", "settings"]), st.binary(max_size=3))
lifetimes = st.sampled_from([None, None, DAY, -1.0])


def expiry(lifetime: float | None) -> float | None:
    """Return the moment so many seconds from now."""
    return None if lifetime is None else time.time() + lifetime


class AllStores(RuleBasedStateMachine):
    """Every store, and the dictionary that they are held against."""

    redis_url: str
    cluster_url: str
    trial: Trial

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.stores: list[Store] = []
        self.sessions = Dictionary(KEPT_ROWS, KEYS, KEPT_KEYS)
        self.saves: list[Save] = []
        self.ledger_saves: list[LedgerSave] = []
        self.steps: dict[tuple[int, str], tuple[HistoryRow | None, str | None]] = {}
        """The row and the key of each save of a step that can be undone, by its stamp."""
        self.count = 0

    @initialize()
    def open(self) -> None:
        self.trial.tried["examples"] += 1
        own = [url_of(Path(self.folder.name), lambda: self.redis_url) for url_of in STORES.values()]
        for url in (*own, self.cluster_url):
            self.stores.append(open_store(Settings(store=url, history_limit=KEPT_ROWS)))
            self.stores[-1].key_memory = KeyMemory(count=KEPT_KEYS, seconds=0)
            self.runner.run(self.stores[-1].open())

    def teardown(self) -> None:
        for name in ("a", "b", "ab", "c"):
            self.every(lambda store, name=name: store.delete(name))
        self.every(lambda store: store.sweep())
        self.every(lambda store: store.close())
        self.runner.close()
        self.folder.cleanup()

    def every(self, call: Any) -> list[Any]:
        async def outcome(answer: Coroutine[Any, Any, Answer]) -> Answer | type[Exception]:
            try:
                return await answer
            except VersionConflict:
                return VersionConflict

        return [self.runner.run(outcome(call(store))) for store in self.stores]

    def expect(self, answer: object, call: Any) -> None:
        self.trial.tried["calls to all stores"] += 1
        assert self.every(call) == [answer] * len(self.stores)

    def save(self, change: Save, state: bytes, refused: bool) -> bool:
        self.saves.append(change)
        self.expect(VersionConflict if refused else None, lambda store: store.save(change))
        if not refused:
            self.sessions.save(change, state)
        return not refused

    def row(self, step: int | None) -> HistoryRow | None:
        self.count += 1
        return None if step is None else HistoryRow(step, b"%d" % self.count)

    def go_back(self, name: str, key: str | None) -> None:
        held = self.sessions[name]
        generation = held.head.earlier[0]
        row, undone = self.steps[generation.version, generation.document.name.split("-")[1]]
        step, body = (row.step, row.body) if row else (0, b"no row")
        marked = ReplacedRow(step, generation.version, b"undone " + body)
        trace = Undone(marked, used(undone, "undone") if undone else None)
        keys = (used(key),) if key else ()
        change = undoing(held.head, held.earlier[0], trace, used=keys, mark=Mark("undo", body))
        self.trial.tried["undone steps"] += self.save(change, held.earlier[0], refused=key in held.keys)
