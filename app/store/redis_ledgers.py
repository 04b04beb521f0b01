"""The ledgers in Redis: an envelope beside the head, and pieces as those of a state.

All expire with the head. Each save of the head gives them its time to live, and each save of the ledger takes over the
time that the head has left.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from app.errors import StateDamaged, StoreUnavailable
from app.store import redis_due
from app.store.envelope import has_expired
from app.store.ledger import Ledger, LedgerSave
from app.store.ledger_envelope import decode, encode, peek
from app.store.piece import Piece
from app.store.redis_client import Command, Refused
from app.store.redis_commands import Commands
from app.store.redis_names import head_key, history_key, ledger_key, piece_keys
from app.store.redis_pieces import BATCH, batched, put, unlink
from app.store.redis_save import replaced_values
from app.store.redis_scripts import SAVE_LEDGER
from app.store.sealed import LABEL_BYTES
from app.store.stamp import Stamp, VersionConflict, expect


def saved(save: LedgerSave) -> tuple[list[str], Command]:
    """Return the names of the keys that a script touches for a ledger, and its other arguments for it, in its order."""
    ledger, session_id = save.ledger, save.ledger.session_id
    keys = [make(session_id) for make in (head_key, ledger_key, history_key)]
    keys += piece_keys(session_id, (*(piece for piece, _ in save.parts), *save.obsolete))
    expected = save.previous.stamp if save.previous else ("", "")
    rows = (value for row in save.replaced for value in replaced_values(row))
    return keys, (ledger.token, *expected, encode(ledger), len(save.parts), *rows)


class Ledgers:
    """The ledgers of all sessions."""

    def __init__(self, client: Commands) -> None:
        self._redis = client

    async def read(self, session_id: str) -> Ledger | None:
        """Return a session's ledger, as `LedgerStore.ledger` promises."""
        data, head = await self._redis.ask(("GET", ledger_key(session_id)), _label(head_key(session_id)))
        return None if data is None or not head or has_expired(head) else decode(session_id, data)

    async def contents(self, ledger: Ledger, pieces: Sequence[Piece]) -> list[memoryview]:
        """Return the bytes of pieces, as `LedgerStore.contents` promises."""
        session_id, found = ledger.session_id, list[memoryview]()
        try:
            for some in batched(pieces):
                answers = await self._redis.ask(*(("GET", key) for key in piece_keys(session_id, some)))
                for piece, data in zip(some, answers, strict=True):
                    piece.verify(session_id, data)
                    found.append(memoryview(data))
        except StateDamaged:
            await self._expect(ledger)
            raise
        await self._expect(ledger)
        return found

    async def _expect(self, ledger: Ledger) -> None:
        """Raise `VersionConflict` unless the ledger is still there: then so are its pieces, for these never change."""
        held = await self._held(ledger.session_id)
        expect(f"the ledger of session {ledger.session_id}", held, ledger.stamp)

    async def _held(self, session_id: str) -> Stamp | None:
        """Return the stamp of the ledger of a session that exists and has not expired."""
        label, head = await self._redis.ask(_label(ledger_key(session_id)), _label(head_key(session_id)))
        return peek(session_id, label).stamp if label and head and not has_expired(head) else None

    async def save(self, save: LedgerSave) -> None:
        """Save a ledger, as `LedgerStore.save_ledger` promises."""
        session_id, upload = save.ledger.session_id, None
        if len(save.parts) > BATCH:
            if save.is_done(await self._held(session_id)):
                return
            upload = self._redis.upload()
        due = redis_due.added(save.ledger)
        before = [*(put(session_id, part) for part in save.parts), *due]
        try:
            outcome = await self._redis.run(SAVE_LEDGER, *saved(save), before, due, upload)
        except Refused:
            await self.take_back(save)
            raise
        if outcome != b"done":
            await self.take_back(save)
            refuse(save, outcome)
        await self.forget_previous(save)

    async def forget_previous(self, save: LedgerSave) -> None:
        """Remove the entry of the ledger that a save has replaced from those that are due; else a sweep does."""
        if gone := redis_due.removed(save.previous):
            with suppress(StoreUnavailable):
                await self._redis.ask(*gone)

    async def take_back(self, save: LedgerSave) -> None:
        """Remove what a failed save wrote, unless a ledger names it; the rest will expire."""
        session_id, key = save.ledger.session_id, ledger_key(save.ledger.session_id)
        with suppress(StoreUnavailable, StateDamaged):
            unlinked = False
            while not unlinked:
                (data,) = await self._redis.ask(("GET", key))
                held = decode(session_id, data) if data else None
                if held and held.token == save.ledger.token:
                    return
                named = held.pieces if held else ()
                pieces = [piece for piece, _ in save.parts if piece not in named]
                unlinked = await unlink(self._redis, {key: data}, piece_keys(session_id, pieces))
            await self._redis.ask(*redis_due.removed(save.ledger))


def refuse(save: LedgerSave, outcome: bytes) -> NoReturn:
    """Raise the error for a script's refusal of a ledger."""
    subject = f"the ledger of session {save.ledger.session_id}"
    if outcome == b"lost":
        raise StoreUnavailable(f"{subject}: a piece expired before the save was done; send it again")
    raise VersionConflict(f"{subject}: the store does not hold what the change was made from")


def _label(key: str) -> Command:
    return ("GETRANGE", key, 0, LABEL_BYTES - 1)
