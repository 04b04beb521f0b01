"""The main verb of workers: contribute to a round, and get the answer of its step. Knows no HTTP.

A contribution is taken by a compare-and-save of the ledger, and a round is closed by one of head and ledger together.
Any process may do either, and one of two that do the same wins. `arrivals` and `rounds` decide.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from app.checksums import checksums_of, params_digest
from app.contributions.books import Book, Books
from app.contributions.closing import Closing
from app.contributions.gradients import Examined
from app.contributions.waiting import Waiter, Waiting
from app.errors import NonFinite, ServiceError, StoreUnavailable
from app.expansion import dtype_of
from app.logs import log
from app.once import Once
from app.session import Session
from app.step import StepAnswer
from app.store.base import Head
from app.store.piece import Part
from app.turns import retried
from app.workers import arrivals, round_views, rounds
from app.workers.decision import Decision
from app.workers.entry import Entry
from app.workers.ledger import MOST_DROPPED
from app.workers.push import Packed, Push
from app.workers.round_rows import RoundRow
from optim_engine import EngineError
from optim_engine.arrays import rounded

Document = dict[str, Any]


@dataclass(frozen=True)
class Pushed:
    """The answer of a contribution so far: it waits, or its round is a step.

    `answer` is the step's, while it is the session's last one. `forms` has the form of each tensor in the request, and
    `dtypes` its dtype.
    """

    number: int
    push: Push
    document: Document
    etag: str
    is_pending: bool = False
    replayed: bool = False
    answer: StepAnswer | None = None
    forms: Mapping[str, str] = field(default_factory=dict)
    dtypes: Mapping[str, np.dtype[Any]] = field(default_factory=dict)


class Unread(Exception):
    """The gradients of a push are needed, to be examined for the session in this book."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book


class Contributing:
    """Contributions to rounds. A session of another tenant than `tenant` is not found."""

    def __init__(self, books: Books, closing: Closing, waiting: Waiting) -> None:
        self._books = books
        self._closing = closing
        self._waiting = waiting

    def waiter(self, session_id: str, number: int) -> AbstractContextManager[Waiter]:
        """Return a waiter for that round, to hold from before the round is looked at."""
        return self._waiting.for_round(session_id, number)

    async def contribute(self, tenant: str, session_id: str, number: int, worker: str, packed: Packed) -> Pushed:
        """Take a contribution to a round, and close the round if it is due then.

        Raises what `arrivals` does, `TensorMismatch`, and `QuotaExceeded`.
        """
        upload, gradients = packed.upload, None
        once = upload.request.once
        push = Push(worker, upload.epoch, packed.digest, upload.weight, upload.request.loss, upload.base_step)

        async def attempt(book: Book) -> Pushed:
            return await self._push(book, number=number, push=push, once=once, gradients=gradients)

        while True:
            try:
                change = partial(self._books.change, tenant, session_id, attempt)
                pushed = await self._books.keyed(session_id, once, change)
            except Unread as unread:
                gradients = await self._closing.examined(unread.book, packed, is_stored=True)
                push = gradients.of(push)
            else:
                sent = upload.request
                return replace(pushed, forms=sent.forms, dtypes={name: dtype_of(name, sent) for name in sent.grads})

    async def _push(self, book: Book, *, number: int, push: Push, once: Once, gradients: Examined | None) -> Pushed:
        """Decide about a contribution, save what follows, and close the round if it is due."""
        session, parts = book.session, tuple[Part, ...]()
        if number <= session.step:
            return await self._late(book, number, push)
        asked = book.rounds, book.ledger, session.step, number, push, book.now
        decided = arrivals.look(*asked)
        if decided is None:
            once.check(book.head)
            if gradients is None or not gradients.fit(session):
                raise Unread(book)
            decided = arrivals.take(*asked, rejects=session.config.on_non_finite == "reject")
            parts = gradients.parts if decided.entry.fate is None else ()
        book = await self._save(book, decided, parts=parts)
        closed = await self._close_if_due(book)
        if decided.error is not None:
            raise decided.error
        if closed is not None:
            return await self._answered(*closed, number, push, decided.entry)
        return self._pending(book, number, push, replayed=decided.repeated)

    def _pending(self, book: Book, number: int, push: Push, *, replayed: bool) -> Pushed:
        """Return the answer of a contribution that waits for others."""
        state = round_views.progress(rounds.progress(book.rounds, book.ledger, book.session.step))
        return Pushed(number, push, state, book.head.etag, is_pending=True, replayed=replayed)

    async def outcome(self, tenant: str, session_id: str, pushed: Pushed) -> Pushed:
        """Return what became of a contribution that waited, with its step's answer if there is one by now.

        Raises what the contribution would be refused with now.
        """
        number, push = pushed.number, pushed.push

        async def attempt() -> Pushed:
            book = await self._books.read(tenant, session_id)
            if number <= book.session.step:
                return await self._late(book, number, push, waited=True)
            self._check_waits(book, number, push)
            return self._pending(book, number, push, replayed=pushed.replayed)

        return replace(await retried(session_id, attempt), forms=pushed.forms, dtypes=pushed.dtypes)

    def _check_waits(self, book: Book, number: int, push: Push) -> None:
        """Raise `NonFinite` if the round was given up, because the sum of its contributions is not finite.

        The contribution itself is finite then, so that it has a norm. Raises `StoreUnavailable` if the store has lost
        what it had acknowledged, so that it is sent again.
        """
        waiting, dropped = book.ledger.of(push.worker), book.ledger.dropped
        if waiting is not None and push.is_in(waiting.entry):
            return
        known = [drop.entry for drop in dropped if drop.round == number and push.is_in(drop.entry)]
        if any(entry.reason == "non_finite" and entry.norm is not None for entry in known):
            raise rounds.aggregate_not_finite(number)
        if not known and len(dropped) < MOST_DROPPED:
            raise StoreUnavailable(
                f"the store went back to an earlier state, without the contribution of worker {push.worker!r} to round "
                f"{number}: the session is at step {book.session.step}; send the contribution again"
            )

    async def _late(self, book: Book, number: int, push: Push, *, waited: bool = False) -> Pushed:
        """Return the answer of a contribution to a closed round; record and refuse one that is not part of it."""
        row = await self._books.row(book.session.id, number)
        decided = arrivals.look_late(
            book.rounds, book.ledger, book.session.step, number, push, row.entries if row else None, book.now
        )
        await self._save(book, decided, row)
        skips = waited and decided.entry.reason == "non_finite" and book.session.config.on_non_finite == "skip"
        if decided.error is not None and not skips:
            raise decided.error
        return await self._answered(book.head, book.session, number, push, decided.entry, replayed=not waited)

    async def _save(
        self, book: Book, decided: Decision, row: RoundRow | None = None, parts: tuple[Part, ...] = ()
    ) -> Book:
        """Save what a decision changes; return the book afterwards."""
        replaced = [row.with_entries(decided.entries)] if row is not None and decided.entries is not None else []
        if decided.ledger is book.ledger and not replaced:
            return book
        saved = await self._books.save(book, decided.ledger, parts, replaced)
        if replaced:
            self._books.counts.dropped(decided.entry.reason)
        return saved

    async def _answered(
        self, head: Head, session: Session, number: int, push: Push, entry: Entry, *, replayed: bool = False
    ) -> Pushed:
        """Return what became of a contribution to a closed round, with the step's answer while it is the last step."""
        answer = await self._closing.answer(head, session) if session.step == number else None
        told = {"round": number, "fate": entry.fate, "step": number}
        return Pushed(number, push, told, head.etag, replayed=replayed, answer=answer)

    async def _close_if_due(self, book: Book) -> tuple[Head, Session] | None:
        """Close the round if it is due. A failure is logged, because the contribution is taken: the keeper goes on."""
        if not rounds.is_due(book.rounds, book.ledger, book.now):
            return None
        try:
            return await self._closing.close(book)
        except NonFinite:
            raise
        except (EngineError, ServiceError) as error:
            log.warning("a round could not be closed", session=book.session.id, error=str(error))
            return None


def in_dtypes(answer: StepAnswer, dtypes: Mapping[str, np.dtype[Any]]) -> StepAnswer:
    """Return the answer with each parameter in the dtype of its gradient, as a step has it.

    That is another one than the session's only for gradients in its wire dtype.
    """
    params = answer.params
    narrow = {name: rounded(params[name], dtypes[name]) for name in params if name in dtypes}
    if all(params[name] is array for name, array in narrow.items()):
        return answer
    params = {**params, **narrow}
    kept = replace(answer.kept, params_digest=params_digest(params, checksums_of(params), None))
    return replace(answer, kept=kept, params=params)
