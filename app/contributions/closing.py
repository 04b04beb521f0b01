"""The close of a round: its contributions become one step, which any process computes with the same bits.

Also what is read of a contribution before it is taken, and the answer that all workers of a round get.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import partial

from app.checksums import checksums_of, params_digest
from app.compute import Compute
from app.contributions.aggregation import Weighed, aggregated
from app.contributions.books import Book, Books
from app.contributions.gradients import Examined, examined
from app.contributions.waiting import Waiting
from app.errors import NonFinite
from app.expansion import expanded_nbytes
from app.logs import log
from app.once import Once
from app.records import Records
from app.session import Session
from app.step import Collected, StepAnswer, StepRequest
from app.stepping import Stepping
from app.store.base import Head
from app.store.ledger import LedgerSave
from app.web.phases import COMPUTE, ending
from app.workers import round_rows, rounds
from app.workers.push import Packed
from optim_engine import NonFinite as EngineNonFinite
from optim_engine import held_params
from optim_engine.arrays import Arrays

MOST_DIGESTS = 256


class Closing:
    """The close of rounds."""

    def __init__(self, records: Records, stepping: Stepping, compute: Compute, books: Books, waiting: Waiting) -> None:
        self._records = records
        self._stepping = stepping
        self._compute = compute
        self._books = books
        self._waiting = waiting
        self._digests: OrderedDict[str, str] = OrderedDict()
        """The digests of all parameters of the last answered heads, by their tokens."""

    async def examined(self, book: Book, packed: Packed, *, is_stored: bool) -> Examined:
        """Return a contribution with its gradients examined. Raises `TensorMismatch`."""
        request, session, state = packed.upload.request, book.session, None
        if session.config.lazy_groups:
            state = (await self._records.with_state(book.head, session)).state
        nbytes = expanded_nbytes(request, session.layout)
        machine = replace(self._compute.machine(nbytes, session.config), threads=1)  # it ends before another begins
        work = partial(examined, session, state, packed, machine, is_stored=is_stored)
        return await ending(COMPUTE, self._compute.run(work, 4 * nbytes + session.breadth))

    async def close(self, book: Book, once: Once | None = None) -> tuple[Head, Session]:
        """Close the open round, in the turn of the caller; return the session afterwards.

        Raises `NoQuorum`, `VersionConflict` if somebody was quicker, and `NonFinite` if the aggregate is not finite:
        its contributions are dropped then.
        """
        closing = rounds.close(book.rounds, book.ledger, book.session.step)
        loaded = await self._records.with_state(book.head, book.session)
        collected = Collected(
            round_rows.written(closing.entries),
            closing.warnings,
            self._books.next_of(book, closing.ledger),
            partial(self._renewed, book),
        )
        request = await ending(COMPUTE, self._aggregated(book, closing, once or Once(f"round {closing.round}")))
        request = replace(request, collected=collected)
        try:
            await self._stepping.apply(loaded, request)
        except (NonFinite, EngineNonFinite) as error:
            await self._books.save(book, rounds.spoiled(book.ledger, book.session.step))
            self._waiting.wake(book.session.id, None)
            raise rounds.aggregate_not_finite(closing.round) from error
        cause = self._books.counts.closed(book.rounds, book.ledger, book.now, asked=once is not None)
        session, applied = book.session.id, len(closing.applied)
        log.info("closed a round", session=session, round=closing.round, cause=cause, applied=applied)
        self._waiting.wake(book.session.id, closing.round + 1)
        return await self._records.get(book.session.tenant, book.session.id)

    async def _renewed(self, book: Book) -> LedgerSave | None:
        """Return what the close makes of the ledger that the store has by now, if it has the same contributions."""
        now = await self._books.same(book)
        if now is None:
            return None
        return self._books.next_of(now, rounds.close(now.rounds, now.ledger, now.session.step).ledger)

    async def _aggregated(self, book: Book, closing: rounds.Closed, once: Once) -> StepRequest:
        """Return the step of the round's contributions."""
        assert book.stored is not None
        settings, read = book.rounds, partial(self._records.store.contents, book.stored)
        weighed = [Weighed(one.worker, one.pieces, one.entry.weight, one.entry.norm or 0.0) for one in closing.applied]
        found = await aggregated(settings.aggregation, weighed, book.session.layout, read, self._compute)
        return StepRequest(once=once, step=closing.round, loss=closing.loss, **found._asdict())

    async def answer(self, head: Head, session: Session) -> StepAnswer | None:
        """Return the answer of the session's last step, with all parameters; `None` if the step is not known."""
        kept = session.applied
        if kept is None or kept.step != session.step:
            return None
        state = (await self._records.with_state(head, session)).state
        params = held_params(state, dict.fromkeys(state.held()))
        digest = self._digests.get(head.token)
        if digest is None:
            work = partial(_digest_of, params, session)
            digest = await ending(COMPUTE, self._compute.run(work, state.memory.nbytes))
            self._digests[head.token] = digest
            if len(self._digests) > MOST_DIGESTS:
                self._digests.popitem(last=False)
        return StepAnswer(replace(kept, params_digest=digest), params, head.etag)


def _digest_of(params: Arrays, session: Session) -> str:
    return params_digest(params, checksums_of(params), session.layout)
