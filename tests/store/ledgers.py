"""Saves of ledgers as the service makes them: contributions that wait, and a close that takes them all away."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.store.base import Head, Save, Store, new_token
from app.store.generation import ReplacedRow
from app.store.ledger import Ledger, LedgerSave
from app.store.piece import Part, Piece, checksum_of
from tests.store.changes import change_of


def ledger_change(
    previous: Ledger | None = None,
    parts: Sequence[bytes] = (),
    *,
    session_id: str = "session-1",
    document: bytes = b"{}",
    due_at: float | None = None,
    kept: Sequence[Piece] | None = None,
    replaced: Sequence[ReplacedRow] = (),
) -> LedgerSave:
    """Return a save that adds pieces to those of `previous` (or to `kept` of them)."""
    token = new_token()
    version = previous.version + 1 if previous else 1
    fresh: list[Part] = [
        (Piece(f"c{version}-{token}-{i}", len(part), checksum_of(part)), memoryview(part))
        for i, part in enumerate(parts)
    ]
    if kept is None:
        kept = previous.pieces if previous else ()
    pieces = (*kept, *(piece for piece, _ in fresh))
    ledger = Ledger(previous.session_id if previous else session_id, version, token, document, pieces, due_at)
    return LedgerSave(ledger, previous, tuple(fresh), tuple(replaced))


async def ledger_saved(store: Store, previous: Ledger | None = None, *args: Any, **kwargs: Any) -> Ledger:
    """Make a change of a ledger and save it; return the ledger."""
    change = ledger_change(previous, *args, **kwargs)
    await store.save_ledger(change)
    return change.ledger


def closing(head: Head, ledger: Ledger, *args: Any, **kwargs: Any) -> Save:
    """Return the save of a step that all contributions of a ledger become."""
    change = ledger_change(ledger, kept=(), document=b"next round", session_id=head.session_id)
    return replace(change_of(head, *args, **kwargs), ledger=change)


async def waiting(store: Store, ledger: Ledger) -> list[bytes]:
    """Return the bytes of all pieces of a ledger."""
    return [bytes(data) for data in await store.contents(ledger, ledger.pieces)]
