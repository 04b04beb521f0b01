"""The verbs about a round: read it, wait for it, close it by hand or because it is due. Knows no HTTP."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from app.contributions.books import Book, Books
from app.contributions.closing import Closing
from app.contributions.members import Noted
from app.contributions.waiting import Waiting
from app.errors import RoundClosed, SessionNotFound, StateDamaged, StepConflict
from app.once import Once
from app.records import Records
from app.replay import is_repeated
from app.session import Session
from app.store.base import IncompatibleStore
from app.store.ledger import Due
from app.worker_settings import RoundSettings
from app.workers import ledgers, round_views, rounds

Document = dict[str, Any]


class RoundCalls:
    """The verbs. A session of another tenant than `tenant` is not found."""

    def __init__(self, records: Records, books: Books, closing: Closing, waiting: Waiting) -> None:
        self._records = records
        self._books = books
        self._closing = closing
        self._waiting = waiting

    async def round(self, tenant: str, session_id: str, number: int, seconds: float = 0) -> Document:
        """Return the round, once it is applied or after so many seconds. Raises `StepConflict` for a later one."""
        with self._waiting.for_round(session_id, number) as waiter:
            found = await self._round(tenant, session_id, number)
            if found["state"] == round_views.OPEN and seconds:
                await waiter.wait(seconds)
                found = await self._round(tenant, session_id, number)
        return found

    async def _round(self, tenant: str, session_id: str, number: int) -> Document:
        book = await self._books.read(tenant, session_id)
        if number <= book.session.step:
            return round_views.applied(number, await self._books.row(session_id, number))
        _check_open(book, number)
        state = rounds.progress(book.rounds, book.ledger, book.session.step)
        return round_views.opened(state, book.ledger)

    async def standing(self, session: Session) -> Document | None:
        """Return where the open round of a session stands, and how many workers it has; `None` without workers.

        Also `None` if the ledger is damaged, which the calls about workers tell: the session itself is whole.
        """
        if session.workers is None:
            return None
        try:
            ledger = ledgers.read(await self._records.store.ledger(session.id))
        except (StateDamaged, IncompatibleStore):
            return None
        return round_views.standing(session, ledger)

    async def close(self, tenant: str, session_id: str, number: int, once: Once) -> Noted:
        """Close a round with those who are in. Raises `NoQuorum`, `RoundClosed` and `StepConflict`."""

        async def attempt(book: Book, known: Once) -> Noted:
            repeated = is_repeated(book.session, known)
            if not repeated:
                _check_open(book, number)
                once.check(book.head)
                head, session = await self._closing.close(book, once)
                book = replace(book, head=head, session=session)
            row = await self._books.row(session_id, number)
            return Noted(round_views.applied(number, row), book.head.etag, repeated)

        async def informed(known: Once) -> Noted:
            return await self._books.change(tenant, session_id, partial(attempt, known=known))

        return await self._records.informed(session_id, once, informed)

    async def close_due(self, due: Due) -> None:
        """Close the open round of any tenant's session if that deadline, which is over, is its own; else do nothing.

        The store also names deadlines of rounds that are closed by now, and of saves that never came.
        """
        head = await self._records.store.load(due.session_id)
        if head is None:
            self._waiting.wake(due.session_id, None)
            return

        async def attempt(book: Book) -> None:
            settings, due_at = book.session.workers, book.stored and book.stored.due_at
            if isinstance(settings, RoundSettings) and due_at == due.due_at:
                await self._closing.close(book)

        with suppress(SessionNotFound):
            await self._books.change(head.tenant, due.session_id, attempt)


def _check_open(book: Book, number: int) -> None:
    """Raise `StepConflict` for a round beyond the open one, and `RoundClosed` for one before it."""
    step = book.session.step
    if number > step + 1:
        raise StepConflict(f"round {number} is not open yet: the session is at step {step}", current_step=step)
    if number <= step:
        words = f"it became step {number}, and the session is at step {step}"
        raise RoundClosed(f"round {number} is closed: {words}", round=number, current_step=step)
