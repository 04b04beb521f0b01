"""The ledgers of sessions as a store has them: read as values, and the saves that follow. Knows no HTTP."""

from collections.abc import Iterable
from dataclasses import replace

from app.session import Session
from app.store.base import Store, new_token
from app.store.generation import ReplacedRow
from app.store.ledger import Ledger as StoredLedger
from app.store.ledger import LedgerSave
from app.store.piece import Part
from app.worker_settings import RoundSettings, WorkerSettings
from app.workers import rounds
from app.workers.ledger import Ledger
from app.workers.ledger_document import read_ledger, write_ledger


def read(stored: StoredLedger | None) -> Ledger:
    """Return a ledger as a value; an empty one where the session has none. Raises `StateDamaged`."""
    return Ledger() if stored is None else read_ledger(stored.session_id, stored.document, stored.pieces)


def next_of(
    session_id: str,
    previous: StoredLedger | None,
    ledger: Ledger,
    settings: WorkerSettings | None,
    parts: Iterable[Part] = (),
    replaced: Iterable[ReplacedRow] = (),
) -> LedgerSave:
    """Return the save of the ledger that follows `previous`; `settings` are the session's then."""
    version = previous.version + 1 if previous else 1
    due_at = rounds.closes_at(settings, ledger) if isinstance(settings, RoundSettings) else None
    following = StoredLedger(session_id, version, new_token(), write_ledger(ledger), ledger.pieces, due_at)
    return LedgerSave(following, previous, tuple(parts), tuple(replaced))


async def settled(store: Store, session: Session, settings: WorkerSettings | None) -> LedgerSave:
    """Return the save of the session's ledger as it is, for a change of what contributions are checked against.

    A contribution that was checked before is then refused by the store, and checked again. `settings` are those after
    the change. Raises `RoundOpen` if contributions wait.
    """
    stored = await store.ledger(session.id)
    ledger = read(stored)
    rounds.check_settled(ledger, "nothing was changed")
    if settings is None:
        ledger = replace(ledger, began=None)  # the last closed round is not the last step then
    return next_of(session.id, stored, ledger, settings)


async def check_no_workers(store: Store, session: Session, what: str) -> None:
    """Raise `RoundOpen` or `WorkersOnly` if the session is for workers, whose contributions alone change its state.

    `what` says what was refused.
    """
    if session.workers is not None:
        rounds.check_settled(read(await store.ledger(session.id)), what)
        raise rounds.workers_only(what)
