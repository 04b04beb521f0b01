"""A session with workers and its ledger: read together, and the ledger saved if nobody was quicker. Knows no HTTP."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from app.compute import Compute
from app.errors import SessionBusy, StateDamaged, WorkersOnly
from app.once import Once
from app.records import Records
from app.replay import mismatch
from app.session import Session
from app.store.base import Head, IncompatibleStore
from app.store.generation import ReplacedRow
from app.store.ledger import Ledger as StoredLedger
from app.store.ledger import LedgerSave
from app.store.piece import Part
from app.store.stamp import VersionConflict
from app.turns import Turns, finished
from app.web.phases import LOAD, SAVE, end_phase, ending
from app.worker_settings import AsyncSettings, RoundSettings, WorkerSettings, mode_of
from app.workers import ledgers, round_rows, rounds
from app.workers.ledger import Ledger
from app.workers.round_counts import RoundCounts
from app.workers.round_rows import RoundRow

T = TypeVar("T")

TRIES = 64
"""Attempts at a change of a ledger against other processes: many workers change it at once, each a little."""
PAUSE_SECONDS = 0.002
"""The longest pause before the second attempt, twice as long before each later one, up to `LONGEST_PAUSE`. Jittered."""
LONGEST_PAUSE = 0.1
MOST_READ = 256
"""Ledgers that are kept as read."""


@dataclass(frozen=True, slots=True)
class Book:
    """A session and its ledger, and the time by the store's clock."""

    head: Head
    session: Session
    stored: StoredLedger | None
    ledger: Ledger
    now: float

    @property
    def settings(self) -> WorkerSettings:
        """Return the setting `workers`. Raises `WorkersOnly` if the session has none."""
        if self.session.workers is None:
            raise WorkersOnly("the session has no workers: set `workers` (PATCH), or take plain steps (POST …/steps)")
        return self.session.workers

    @property
    def rounds(self) -> RoundSettings:
        """Return the same of a session whose workers work in rounds. Raises `WorkersOnly`."""
        settings = self.settings
        if not isinstance(settings, RoundSettings):
            raise WorkersOnly(
                f"the session has the mode {mode_of(settings)!r}, which has no rounds: number each contribution "
                "(PUT …/contributions/{worker}/{seq})"
            )
        return settings

    @property
    def asynchronous(self) -> AsyncSettings:
        """Return the same of a session whose contributions are steps. Raises `WorkersOnly`."""
        settings = self.settings
        if not isinstance(settings, AsyncSettings):
            raise WorkersOnly(
                f"the session has the mode {mode_of(settings)!r}: contribute to a round "
                "(PUT …/rounds/{round}/contributions/{worker})"
            )
        return settings


class Books:
    """The books of all sessions. A session of another tenant than `tenant` is not found.

    `counts` are told what is saved.
    """

    def __init__(self, records: Records, turns: Turns, compute: Compute, counts: RoundCounts) -> None:
        self._records = records
        self._turns = turns
        self._compute = compute
        self.counts = counts
        self._read: dict[str, tuple[str, Ledger]] = {}

    async def read(self, tenant: str, session_id: str) -> Book:
        """Return the session, its ledger and the time. Raises `SessionNotFound`.

        The ledger is read first: a save of it fails if it has changed since, and it changes whenever the session gets
        another step or other workers.
        """
        store = self._records.store
        while True:
            stored = await self._stored(tenant, session_id)
            head, session = await self._records.get(tenant, session_id)
            ledger = self._ledger_of(stored)
            if not ledger.waiting or ledger.round == session.step + 1:
                now = await store.now()
                end_phase(LOAD)
                return Book(head, session, stored, ledger, now)
            again = await store.ledger(session_id)
            if (again and again.stamp) == (stored and stored.stamp):
                rounds.open_round(ledger, session.step)  # which says what is wrong

    async def _stored(self, tenant: str, session_id: str) -> StoredLedger | None:
        """Return the ledger as the store has it. A damaged one is told to its tenant alone."""
        try:
            return await self._records.store.ledger(session_id)
        except (StateDamaged, IncompatibleStore):
            await self._records.head(tenant, session_id)
            raise

    async def row(self, session_id: str, number: int) -> RoundRow | None:
        """Return a closed round's row of the history, `None` if the history has none (any more)."""
        return round_rows.read(await self._records.store.history(session_id, number - 1, 1), number)

    async def next_round(self, session_id: str) -> int | None:
        """Return the number of any tenant's next round, `None` if the session is gone."""
        ledger = self._ledger_of(await self._records.store.ledger(session_id))
        if ledger.began is not None:  # a short document, which names the last closed round
            return ledger.began[0] + 1
        head = await self._records.store.load(session_id)
        return None if head is None else (await self._records.read(head)).step + 1

    async def same(self, book: Book) -> Book | None:
        """Return the book as it is now, if only workers or their leases have changed in it."""
        now = await self.read(book.session.tenant, book.session.id)
        is_same = now.head.stamp == book.head.stamp
        is_same &= (now.ledger.waiting, now.ledger.dropped) == (book.ledger.waiting, book.ledger.dropped)
        return now if is_same else None

    def _ledger_of(self, stored: StoredLedger | None) -> Ledger:
        """Return the ledger as a value. The last ones are kept as read."""
        if stored is None:
            return Ledger()
        known = self._read.pop(stored.session_id, None)
        if known is None or known[0] != stored.token:
            known = stored.token, ledgers.read(stored)
        self._keep(stored, known[1])
        return known[1]

    def _keep(self, stored: StoredLedger, ledger: Ledger) -> None:
        self._read[stored.session_id] = stored.token, ledger
        while len(self._read) > MOST_READ:
            del self._read[next(iter(self._read))]

    async def save(
        self, book: Book, ledger: Ledger, parts: Iterable[Part] = (), replaced: Iterable[ReplacedRow] = ()
    ) -> Book:
        """Save the next ledger, also if the request is cancelled meanwhile; return the book with it.

        Raises `VersionConflict` if somebody was quicker, and `QuotaExceeded` if fresh parts may not wait.
        """
        save = self.next_of(book, ledger, parts, replaced)
        if save.parts:
            waiting = sum(piece.size for piece in ledger.pieces)
            await self._records.quota.check_waiting(book.session.tenant, waiting)
        await ending(SAVE, finished(self._records.store.save_ledger(save)))
        self._keep(save.ledger, ledger)
        self.counts.saved(book.ledger, ledger)
        return Book(book.head, book.session, save.ledger, ledger, book.now)

    def next_of(
        self, book: Book, ledger: Ledger, parts: Iterable[Part] = (), replaced: Iterable[ReplacedRow] = ()
    ) -> LedgerSave:
        """Return the save of the next ledger."""
        return ledgers.next_of(book.session.id, book.stored, ledger, book.session.workers, parts, replaced)

    async def keyed(self, session_id: str, once: Once, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns. Raises `IdempotencyMismatch` if the key is known to be another request's."""

        async def informed(known: Once) -> T:
            if known.known is not None and known.known.request != once.request:
                raise mismatch(once, known.known)
            return await attempt()

        return await self._records.informed(session_id, once, informed)

    async def change(self, tenant: str, session_id: str, attempt: Callable[[Book], Awaitable[T]]) -> T:
        """Return what `attempt` makes of the book, while nothing else in this process changes the session.

        It is called again if another process was quicker. Raises `SessionBusy`, and `SessionNotFound`.
        """

        async def patient() -> T:
            pause = PAUSE_SECONDS
            for _ in range(TRIES):
                try:
                    return await attempt(await self.read(tenant, session_id))
                except VersionConflict:
                    await asyncio.sleep(random.uniform(0, pause))
                    pause = min(2 * pause, LONGEST_PAUSE)
            raise SessionBusy(f"session {session_id}: {TRIES} other changes came first; send the request again")

        return await self._turns.take(session_id, patient)
