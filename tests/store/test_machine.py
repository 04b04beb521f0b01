"""Every store against one dictionary: any calls, in any order."""

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from app.store.history import Mark
from app.store.keys import key_digest
from app.store.stamp import VersionConflict
from tests.chaos.trial import Trial
from tests.store.all_stores import (
    KEPT_ROWS,
    KEYS,
    expiry,
    lifetimes,
    marks,
    maybe_keys,
    maybe_rows,
    names,
    states,
    tenants,
)
from tests.store.changes import change_of, state_of, used
from tests.store.ledger_rules import LedgerRules


class Stores(LedgerRules):
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
            expires_at=expiry(lifetime),
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
        mark=marks,
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
        mark: Mark | None,
    ) -> None:
        held = self.sessions[data.draw(st.sampled_from(sorted(self.sessions)))]
        change = change_of(
            held.head,
            state,
            row=self.row(step),
            forget_after=forget,
            expires_at=expiry(lifetime),
            used=[used(key)] if key else [],
            undo=undo,
            mark=mark,
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

    @rule(name=names, version=st.integers(0, 9), limit=st.integers(0, 5))
    def newer(self, name: str, version: int, limit: int) -> None:
        self.expect(self.sessions.newer(name, version, limit), lambda store: store.newer(name, version, limit))

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
                rows = [body for _, _, body in held.history.rows]
                self.expect(rows, lambda store, name=name: store.history(name, -1, KEPT_ROWS))
                bodies = [mark.body for mark in held.marks]
                self.expect(bodies, lambda store, name=name: store.marks(name))
                for key in KEYS:
                    row = held.row_of(key)
                    self.expect(row, lambda store, name=name, key=key: store.used(name, key_digest(key)))


@pytest.mark.requirement("R6")
def test_all_stores_do_as_a_dictionary_does(redis_url: str, cluster_url: str, trial: Trial) -> None:
    machine = seed(trial.seed)(
        type("Machine", (Stores,), {"redis_url": redis_url, "cluster_url": cluster_url, "trial": trial})
    )
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=trial.times(quick=12, whole=1500),
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
