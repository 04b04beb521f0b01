"""The ledgers of the sessions in memory, and views of the contributions that wait."""

import asyncio
from collections.abc import Sequence

from app.store.ledger import Due, Ledger, LedgerSave
from app.store.piece import Piece
from app.store.stamp import Stamp, expect


class Ledgers(dict[str, tuple[Ledger, dict[str, memoryview]]]):
    """Each session's ledger, and its pieces' bytes by name."""

    def held(self, session_id: str) -> Ledger | None:
        """Return a session's ledger."""
        found = self.get(session_id)
        return found[0] if found else None

    def stamp(self, session_id: str) -> Stamp | None:
        """Return the stamp of a session's ledger."""
        ledger = self.held(session_id)
        return ledger.stamp if ledger else None

    async def contents(self, ledger: Ledger, pieces: Sequence[Piece]) -> list[memoryview]:
        """Return views of pieces, as `LedgerStore.contents` promises."""
        session_id = ledger.session_id
        expect(f"the ledger of session {session_id}", self.stamp(session_id), ledger.stamp)
        views = [self[session_id][1].get(piece.name) for piece in pieces]
        for piece, view in zip(pieces, views, strict=True):
            piece.verify(session_id, view)
            await asyncio.sleep(0)
        return [view for view in views if view is not None]

    def take(self, save: LedgerSave) -> None:
        """Keep the ledger of a save, and the bytes of its pieces."""
        session_id = save.ledger.session_id
        held = self[session_id][1] if session_id in self else {}
        given = held | {piece.name: data for piece, data in save.parts}
        views = {piece.name: given[piece.name] for piece in save.ledger.pieces}
        self[session_id] = save.ledger, views

    def due(self) -> list[Due]:
        """Return the sessions whose ledgers have a time."""
        ledgers = (ledger for ledger, _ in self.values())
        return [Due(ledger.session_id, ledger.due_at) for ledger in ledgers if ledger.due_at is not None]
