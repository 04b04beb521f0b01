"""The main job: one optimizer step, from what is known of the session to what is saved. Knows no HTTP, no wire format.

There is one way: the basis, from memory or from the store → the answer that the request got before → compute → save.
"""

from contextlib import nullcontext
from dataclasses import replace

from app import changes
from app.changes import Change, nbytes_of
from app.compute import TENSOR_BYTES, Compute
from app.errors import ServiceError, StoreUnavailable
from app.records import Records
from app.replay import earlier_answer
from app.session import Loaded, Session
from app.step import StepAnswer, StepRequest
from app.store.base import PIECE_BYTES, Head, KeyUsed, Saving, new_token
from optim_engine import EngineError

LARGE = 4 * PIECE_BYTES
"""Bytes of a step's arrays and state: from here on its pieces are many, and a look into the store costs little beside
the work that it may save."""


class Stepping:
    """Steps of sessions. `tenant` is whose sessions are seen: another's are not found."""

    def __init__(self, records: Records, compute: Compute) -> None:
        self._records = records
        self._compute = compute

    async def step(self, tenant: str, session_id: str, request: StepRequest) -> StepAnswer:
        """Take one optimizer step, exactly once; the module `replay` says what that means.

        A small one is taken from memory, without a look into the store: the compare-and-save tells whether somebody
        else was quicker, and then no more than a small step was in vain. Whatever else may come of it is decided by the
        store's own head.
        """

        async def attempt() -> StepAnswer:
            seen = self._seen(tenant, session_id, request)
            if seen is not None:
                try:
                    return await self._take(seen.head, seen.session, request)
                except StoreUnavailable:
                    raise
                except (EngineError, ServiceError, KeyUsed):
                    pass
            once = await self._records.informed(session_id, request.once)
            head, session = await self._records.get(tenant, session_id)
            return await self._take(head, session, replace(request, once=once))

        return await self._records.retried(session_id, attempt)

    def _seen(self, tenant: str, session_id: str, request: StepRequest) -> Loaded | None:
        """Return what this process has of the session, if the step is small, and new by that."""
        seen = self._records.seen(tenant, session_id)
        if seen is None or _nbytes(seen.head, request) >= LARGE:
            return None
        try:
            return seen if earlier_answer(seen.session, request) is None else None
        except ServiceError:
            return None

    async def _take(self, head: Head, session: Session, request: StepRequest) -> StepAnswer:
        """Take the step from there, or answer it again; of a large one, pieces are written while it is computed."""
        past = earlier_answer(session, request)
        if past is None:
            request.once.check(head)
        old = Loaded(head, session, await self._records.state(head, session))
        nbytes = _nbytes(head, request)
        work = nbytes + session.breadth + TENSOR_BYTES * len(request.grads)
        if past is not None:
            return await self._compute.run(lambda: changes.replay(old, past, request), work)
        lent = self._records.store.saving(session.id, new_token()) if nbytes >= LARGE else nullcontext()
        async with lent as saving:
            change, answer = await self._compute.run(lambda: self._stepped(old, request, saving), work)
            await self._records.save(change, saving)
        return answer

    def _stepped(self, old: Loaded, request: StepRequest, saving: Saving | None) -> tuple[Change, StepAnswer]:
        """Return what a step changes and its answer, if the session may grow so far."""
        change, answer = changes.step(old, request, self._compute.machine, saving)
        return self._records.fits(old.session, change), answer


def _nbytes(head: Head, request: StepRequest) -> int:
    return head.state_bytes + nbytes_of(request.grads, request.params)
