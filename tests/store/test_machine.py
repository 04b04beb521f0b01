"""Every store against one dictionary: any calls, in any order."""

import asyncio
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.settings import Settings
from app.store import open_store
from app.store.base import HistoryRow, Save, Store
from app.store.generation import ReplacedRow, Undone
from app.store.keys import KeyMemory, key_digest
from app.store.stamp import VersionConflict
from tests.chaos.trial import Trial
from tests.store.changes import DAY, change_of, state_of, undoing, used
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
lifetimes = st.sampled_from([None, None, DAY, -1.0])


class AllStores(RuleBasedStateMachine):
    """Every store, and the dictionary that they are held against."""

    redis_url: str
    trial: Trial

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.stores: list[Store] = []
        self.sessions = Dictionary(KEPT_ROWS, KEYS, KEPT_KEYS)
        self.saves: list[Save] = []
        self.steps: dict[tuple[int, str], tuple[HistoryRow | None, str | None]] = {}
        """The row and the key of each save of a step that can be undone, by its stamp."""
        self.count = 0

    @initialize()
    def open(self) -> None:
        self.trial.tried["examples"] += 1
        for url_of in STORES.values():
            url = url_of(Path(self.folder.name), lambda: self.redis_url)
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
        self.trial.tried["calls to all three"] += 1
        assert self.every(call) == [answer] * 3

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
        marked = ReplacedRow(step, generation.version, body, b"undone " + body)
        trace = Undone(marked, used(undone, "undone") if undone else None)
        change = undoing(held.head, held.earlier[0], trace, used=(used(key),) if key else ())
        self.trial.tried["undone steps"] += self.save(change, held.earlier[0], refused=key in held.keys)


class Stores(AllStores):
    """Each rule does the same to every store; they must all answer as the dictionary does."""

    @rule(name=names, tenant=tenants, state=states, step=maybe_rows, lifetime=lifetimes, key=maybe_keys)
    def create(
        self, name: str, tenant: str, state: list[bytes], step: int | None, lifetime: float | None, key: str | None
    ) -> None:
        change = change_of(
            None,
            state,
            session_id=name,
            tenant=tenant,
            row=self.row(step),
            expires_at=_expiry(lifetime),
            used=[used(key)] if key else [],
        )
        self.save(change, b"".join(state), refused=name in self.sessions)

    @precondition(lambda self: self.sessions)
    @rule(
        data=st.data(),
        state=states,
        step=maybe_rows,
        forget=maybe_rows,
        lifetime=lifetimes,
        key=maybe_keys,
        undo=st.integers(0, 2),
        back=st.booleans(),
    )
    def update(
        self,
        data: st.DataObject,
        state: list[bytes],
        step: int | None,
        forget: int | None,
        lifetime: float | None,
        key: str | None,
        undo: int,
        back: bool,
    ) -> None:
        held = self.sessions[data.draw(st.sampled_from(sorted(self.sessions)))]
        change = change_of(
            held.head,
            state,
            row=self.row(step),
            forget_after=forget,
            expires_at=_expiry(lifetime),
            used=[used(key)] if key else [],
            undo=undo,
        )
        if self.save(change, b"".join(state), refused=key in held.keys) and undo:
            self.steps[change.head.stamp] = change.row, key
            if back and held.head.session_id in self.sessions:
                self.go_back(held.head.session_id, None)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), of_steps=st.lists(states, min_size=2, max_size=2))
    def undo_one_of_two(self, data: st.DataObject, of_steps: list[list[bytes]]) -> None:
        name = data.draw(st.sampled_from(sorted(self.sessions)))
        for state in of_steps:
            change = change_of(self.sessions[name].head, state, row=self.row(1), undo=2)
            self.save(change, b"".join(state), refused=False)
            self.steps[change.head.stamp] = change.row, None
        self.go_back(name, None)

    @precondition(lambda self: any(held.earlier for held in self.sessions.values()))
    @rule(data=st.data(), key=maybe_keys)
    def undo(self, data: st.DataObject, key: str | None) -> None:
        names = [name for name, held in self.sessions.items() if held.earlier]
        self.go_back(data.draw(st.sampled_from(sorted(names))), key)

    @precondition(lambda self: self.saves)
    @rule(data=st.data())
    def save_again(self, data: st.DataObject) -> None:
        change = data.draw(st.sampled_from(self.saves))
        held = self.sessions.get(change.head.session_id)
        if held and held.head == change.head:
            self.expect(None, lambda store: store.save(change))
        elif change.previous or held:
            self.expect(VersionConflict, lambda store: store.save(change))

    @precondition(lambda self: self.saves)
    @rule(data=st.data(), state=states)
    def save_from_an_old_head(self, data: st.DataObject, state: list[bytes]) -> None:
        old = data.draw(st.sampled_from(self.saves)).head
        held = self.sessions.get(old.session_id)
        if held is None or held.head != old:
            change = change_of(old, state, row=self.row(1), forget_after=0)
            self.expect(VersionConflict, lambda store: store.save(change))
            self.expect(VersionConflict, lambda store: state_of(store, old))

    @rule(name=names)
    def delete(self, name: str) -> None:
        self.expect(self.sessions.pop(name, None) is not None, lambda store: store.delete(name))

    @rule()
    def sweep(self) -> None:
        self.every(lambda store: store.sweep())

    @rule(tenant=tenants, limit=st.integers(0, 3), before=st.none() | names)
    def list(self, tenant: str, limit: int, before: str | None) -> None:
        expected = self.sessions.list(tenant, limit, before)
        self.expect(expected, lambda store: store.list(tenant, limit, before))

    @rule(name=names, after=st.integers(-1, 6), limit=st.integers(0, 3))
    def history(self, name: str, after: int, limit: int) -> None:
        self.expect(self.sessions.history(name, after, limit), lambda store: store.history(name, after, limit))

    @rule(name=names, count=st.integers(1, 3))
    def latest(self, name: str, count: int) -> None:
        self.expect(self.sessions.latest(name, count), lambda store: store.latest(name, count))

    @invariant()
    def all_is_there(self) -> None:
        if not self.stores:
            return
        for name in ("a", "b", "ab", "c"):
            held = self.sessions.get(name)
            self.expect(held.head if held else None, lambda store, name=name: store.load(name))
            if held:
                self.expect(held.state, lambda store, held=held: state_of(store, held.head))
                for generation, state in zip(held.head.earlier, held.earlier, strict=True):
                    then = held.head.with_pieces(generation.pieces)
                    self.expect(state, lambda store, then=then: state_of(store, then))
                rows = [body for _, body in held.rows]
                self.expect(rows, lambda store, name=name: store.history(name, -1, KEPT_ROWS))
                for key in KEYS:
                    row = held.row_of(key)
                    self.expect(row, lambda store, name=name, key=key: store.used(name, key_digest(key)))


def _expiry(lifetime: float | None) -> float | None:
    return None if lifetime is None else time.time() + lifetime


@pytest.mark.requirement("R6")
def test_all_stores_do_as_a_dictionary_does(redis_url: str, trial: Trial) -> None:
    machine = seed(trial.seed)(type("Machine", (Stores,), {"redis_url": redis_url, "trial": trial}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=trial.times(quick=12, whole=1500),
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
