"""The machine's rules about ledgers."""

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from app.store.base import Store
from app.store.generation import ReplacedRow
from app.store.ledger import Due, LedgerSave
from app.store.piece import Piece
from app.store.stamp import VersionConflict
from tests.store.all_stores import AllStores, expiry, lifetimes, maybe_rows, names, states
from tests.store.changes import change_of
from tests.store.dictionary import Session
from tests.store.ledgers import ledger_change, waiting

due_times = st.none() | st.sampled_from([1.0, 2.5, 1e12])


def _replaceable(held: Session) -> list[ReplacedRow]:
    """Return a new row for each that there is, and one for a row that is not."""
    rows = [ReplacedRow(step, version, b"late " + body) for step, version, body in held.rows]
    return [ReplacedRow(1, 10**9, b"never seen"), *rows]


class LedgerRules(AllStores):
    """Ledgers change by themselves and with heads; every store must do as the dictionary does."""

    def save_ledger(self, change: LedgerSave, refused: bool) -> None:
        self.ledger_saves.append(change)
        self.expect(VersionConflict if refused else None, lambda store: store.save_ledger(change))
        if not refused:
            self.sessions[change.ledger.session_id].take(change)

    @rule(name=names, parts=states, due_at=due_times, fewer=st.booleans(), data=st.data())
    def contribute(self, name: str, parts: list[bytes], due_at: float | None, fewer: bool, data: st.DataObject) -> None:
        held = self.sessions.get(name)
        ledger = held.ledger if held else None
        kept: tuple[Piece, ...] | None = ledger.pieces[1:] if ledger and fewer else None
        rows = _replaceable(held) if held else []
        replaced = data.draw(st.lists(st.sampled_from(rows), max_size=2, unique=True)) if rows else []
        change = ledger_change(ledger, parts, session_id=name, due_at=due_at, kept=kept, replaced=replaced)
        self.save_ledger(change, refused=held is None)

    @precondition(lambda self: self.ledger_saves)
    @rule(data=st.data())
    def contribute_again(self, data: st.DataObject) -> None:
        change = data.draw(st.sampled_from(self.ledger_saves))
        held = self.sessions.get(change.ledger.session_id)
        if held is not None and held.ledger == change.ledger:
            self.expect(None, lambda store: store.save_ledger(change))
        elif held is None or change.previous or held.ledger:
            self.expect(VersionConflict, lambda store: store.save_ledger(change))

    @precondition(lambda self: self.ledger_saves)
    @rule(data=st.data(), parts=states, with_head=st.booleans())
    def contribute_from_an_old_ledger(self, data: st.DataObject, parts: list[bytes], with_head: bool) -> None:
        old = data.draw(st.sampled_from(self.ledger_saves)).ledger
        held = self.sessions.get(old.session_id)
        if held is not None and held.ledger == old:
            return
        change = ledger_change(old, parts, due_at=3.0)
        if held is not None and with_head:
            save = replace(change_of(held.head, parts), ledger=change)
            self.expect(VersionConflict, lambda store: store.save(save))
        self.expect(VersionConflict, lambda store: store.save_ledger(change))
        self.expect(VersionConflict, lambda store: waiting(store, old))

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), state=states, step=maybe_rows, parts=states, due_at=due_times, lifetime=lifetimes)
    def close(
        self,
        data: st.DataObject,
        state: list[bytes],
        step: int | None,
        parts: list[bytes],
        due_at: float | None,
        lifetime: float | None,
    ) -> None:
        held = self.sessions[data.draw(st.sampled_from(sorted(self.sessions)))]
        rows = _replaceable(held)[-1:]
        name = held.head.session_id
        ledger = ledger_change(held.ledger, parts, session_id=name, due_at=due_at, kept=(), replaced=rows)
        change = change_of(held.head, state, row=self.row(step), expires_at=expiry(lifetime))
        self.save(replace(change, ledger=ledger), b"".join(state), refused=False)
        self.ledger_saves.append(ledger)

    @invariant()
    def all_contributions_are_there(self) -> None:
        for name in ("a", "b", "ab", "c") if self.stores else ():
            held = self.sessions.get(name)
            ledger = held.ledger if held else None
            self.expect(ledger, lambda store, name=name: store.ledger(name))
            if held and ledger:
                self.expect(held.waiting, lambda store, ledger=ledger: waiting(store, ledger))
                if ledger.due_at is not None:
                    due = Due(name, ledger.due_at)
                    self.expect(True, lambda store, due=due: _is_due(store, due))


async def _is_due(store: Store, due: Due) -> bool:
    return due in await store.due()
