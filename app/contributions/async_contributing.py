"""Contributions in the asynchronous mode: each one is a step of its own, numbered by its worker. Knows no HTTP.

`async_arrivals` decides. The step and the ledger are one save, so a number is counted with its step or not at all.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from app import step_change
from app.compute import Compute
from app.contributions.books import Book, Books
from app.contributions.closing import Closing
from app.contributions.contributing import Unread
from app.contributions.gradients import Examined
from app.once import Once
from app.records import Records
from app.session import Session
from app.step import Collected, KeptAnswer, StepAnswer, StepRequest
from app.stepping import Stepping
from app.store.ledger import LedgerSave
from app.web.phases import COMPUTE, ending
from app.workers import async_arrivals, round_rows
from app.workers.push import Packed, Push
from app.workers.round_rows import RoundRow
from optim_engine.rates import learning_rates

FAR_BACK = 10_000
"""The rows of the history in which the step of an older contribution is looked for."""


class AsyncContributing:
    """The verb. A session of another tenant than `tenant` is not found."""

    def __init__(self, records: Records, books: Books, closing: Closing, stepping: Stepping, compute: Compute) -> None:
        self._records = records
        self._books = books
        self._closing = closing
        self._stepping = stepping
        self._compute = compute

    async def contribute(self, tenant: str, session_id: str, worker: str, seq: int, packed: Packed) -> StepAnswer:
        """Take the step of a contribution, or return its answer again, without parameters if others stepped since.

        Raises what `async_arrivals` does, and what a step does.
        """
        upload, gradients = packed.upload, None
        once = upload.request.once
        push = Push(worker, upload.epoch, packed.digest, upload.weight, upload.request.loss, upload.base_step, seq)

        async def attempt(book: Book) -> StepAnswer:
            return await self._push(book, push=push, gradients=gradients, once=once)

        while True:
            try:
                change = partial(self._books.change, tenant, session_id, attempt)
                return await self._books.keyed(session_id, once, change)
            except Unread as unread:
                gradients = await self._closing.examined(unread.book, packed, is_stored=False)
                push = gradients.of(push)

    async def _push(self, book: Book, *, push: Push, gradients: Examined | None, once: Once) -> StepAnswer:
        book = await self._without_undone(book, push)
        settings, session = book.asynchronous, book.session
        decided = async_arrivals.look(settings, book.ledger, session.step, push, await self._applied_as(book, push))
        if decided is None:
            once.check(book.head)
            if gradients is None:
                raise Unread(book)
            if push.not_finite is None:
                return await self._stepped(book, push, gradients)
            if session.config.on_non_finite == "skip":
                return await self._skipped(book, push, gradients)
            decided = async_arrivals.refuse_not_finite(book.ledger, session.step, push)
        if decided.ledger is not book.ledger:
            book = await self._books.save(book, decided.ledger)
        if decided.error is not None:
            raise decided.error
        if gradients is None:
            raise Unread(book)
        return await self._again(book, push, gradients.request)

    async def _stepped(self, book: Book, push: Push, gradients: Examined) -> StepAnswer:
        """Take the step of a contribution."""
        session = book.session
        applied = async_arrivals.apply(book.asynchronous, book.ledger, session.step, push, book.now)
        overrides = None if applied.lr_divisor == 1.0 else _divided(session, applied.lr_divisor)
        save = self._books.next_of(book, applied.ledger)
        collected = Collected(round_rows.written(applied.entries), (), save, partial(self._renewed, book, push))
        loaded = await self._records.with_state(book.head, session)
        request = replace(gradients.request, collected=collected, overrides=overrides)
        answer = await self._stepping.apply(loaded, request)
        self._books.counts.applied()
        return replace(answer, staleness=applied.staleness)

    async def _renewed(self, book: Book, push: Push) -> LedgerSave | None:
        """Return what the step makes of the ledger that the store has by now, if it still is the next one."""
        now = await self._books.same(book)
        if now is None or now.ledger.workers.get(push.worker) != book.ledger.workers.get(push.worker):
            return None
        applied = async_arrivals.apply(now.asynchronous, now.ledger, now.session.step, push, book.now)
        return self._books.next_of(now, applied.ledger)

    async def _skipped(self, book: Book, push: Push, gradients: Examined) -> StepAnswer:
        """Skip the step of a contribution that is not finite, as a plain step is skipped. Its number stays free."""
        past = book.session.skipped
        if past is not None and past.body == gradients.request.once.request:
            return await self._replayed(book, past, gradients.request)
        dropped = push.dropped("non_finite")
        entries = (dropped, *(drop.entry for drop in book.ledger.dropped))
        save = self._books.next_of(book, replace(book.ledger, dropped=()))
        loaded = await self._records.with_state(book.head, book.session)
        collected = Collected(round_rows.written(entries), (), save, nothing_else)
        answer = await self._stepping.apply(loaded, replace(gradients.request, collected=collected))
        self._books.counts.dropped(dropped.reason)
        return answer

    async def _again(self, book: Book, push: Push, request: StepRequest) -> StepAnswer:
        """Return the answer of the worker's last contribution again; without parameters if others stepped since."""
        session, turn = book.session, book.ledger.workers[push.worker].turn
        assert turn is not None
        staleness = turn.step - 1 - (turn.step - 1 if push.base_step is None else push.base_step)
        if session.step == turn.step and session.applied is not None:
            answer = await self._replayed(book, session.applied, request)
        else:
            row = await self._books.row(session.id, turn.step)
            answer = StepAnswer(_kept(turn.step, row), {}, book.head.etag, replayed=True)
        return replace(answer, staleness=staleness)

    async def _replayed(self, book: Book, past: KeptAnswer, request: StepRequest) -> StepAnswer:
        """Return the answer of the session's last step, or of the one that was skipped since, again."""
        loaded = await self._records.with_state(book.head, book.session)
        work = partial(step_change.replay, loaded, past, request)
        return await ending(COMPUTE, self._compute.run(work, loaded.state.memory.nbytes + request.nbytes))

    async def _without_undone(self, book: Book, push: Push) -> Book:
        """Return the book, without the worker's last step if that has this number and was undone since."""
        worker, step = book.ledger.workers.get(push.worker), book.session.step
        if worker is None or worker.turn is None or worker.turn.seq != push.seq:
            return book
        row = await self._books.row(book.session.id, worker.turn.step) if worker.turn.step <= step else None
        entries = [(entry.worker, entry.seq, entry.fate) for entry in row.entries] if row else []
        was_undone = worker.turn.step > step or (row is not None and (worker.name, push.seq, "applied") not in entries)
        return replace(book, ledger=book.ledger.with_worker(replace(worker, turn=None))) if was_undone else book

    async def _applied_as(self, book: Book, push: Push) -> int | None:
        """Return the step that an older contribution of the worker became, if the history still has it."""
        worker = book.ledger.workers.get(push.worker)
        if worker is None or worker.turn is None or push.seq is None or push.seq >= worker.turn.seq:
            return None
        rows = await self._records.store.latest(book.session.id, FAR_BACK)
        return round_rows.step_of(rows, push.worker, push.seq)


async def nothing_else() -> None:
    """Return nothing: the step is to be computed anew."""


def _divided(session: Session, divisor: float) -> dict[str, Any]:
    """Return the overrides of a step whose learning rates are divided: that of each group, and of all others."""
    rates = learning_rates(session.config, session.step + 1)
    groups = {str(i): {"lr": rate / divisor} for i, rate in rates.items() if i is not None}
    return {"lr": rates[None] / divisor, "groups": groups}


def _kept(step: int, row: RoundRow | None) -> KeptAnswer:
    """Return what the history knows of an earlier step's answer."""
    return KeptAnswer(step, None, "", None, row.metrics if row else {}, row.digest if row else "")
