"""The verbs of sessions: load → engine → compare-and-save. Knows no HTTP, no store's insides, no wire format.

Every change goes the same way: from the head that was read to a new head, saved only if the store still holds the
former. How a session is loaded and saved is in `records`.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from app import changes
from app.changes import Change, nbytes_of
from app.compute import TENSOR_BYTES
from app.errors import QuotaExceeded, ServiceError, StateDamaged
from app.once import Once
from app.records import Records, not_found
from app.replay import earlier_answer, is_repeated, mismatch
from app.session import Loaded, Session
from app.step import StepAnswer, StepRequest
from app.store.base import (
    PIECE_BYTES,
    AlreadyCreated,
    Head,
    KeyUsed,
    Staging,
    VersionConflict,
    new_token,
)
from app.store.keys import Claim, key_digest
from optim_engine import Config, Edits, EngineError, State
from optim_engine.arrays import Arrays

LARGE = 4 * PIECE_BYTES
"""Bytes of a step's arrays and state: from here on its pieces are many, and a look into the store costs little beside
the work that it may save."""


class Written(NamedTuple):
    """The result of a write: the session as it is now; `replayed` says that the write was done before."""

    head: Head
    session: Session
    replayed: bool = False

    @property
    def etag(self) -> str:
        """Return the session's `ETag` now."""
        return self.head.etag


class Sessions(Records):
    """The verbs. `tenant` is whose sessions are seen: another's are not found."""

    async def create(
        self,
        tenant: str,
        config: Config,
        once: Once,
        *,
        ttl_seconds: float | None = None,
        labels: Mapping[str, str] | None = None,
        skipped_steps: int = 0,
        state: State | None = None,
    ) -> Written:
        """Make a session: at step 0, or with that state."""

        async def make(session_id: str) -> Change:
            now = time.time()
            session = Session(session_id, tenant, config, now, now, ttl_seconds, labels or {}, 0, skipped_steps)
            change = partial(changes.create, session, state, claimed=once.key is not None)
            return await self._compute.run_apart(lambda: self._fits(None, change()))

        return await self._create(tenant, once, make)

    async def _create(self, tenant: str, once: Once, make: Callable[[str], Awaitable[Change]]) -> Written:
        """Save what `make` makes of a new id. With a key, the id is claimed first: sent again, it is the same session.

        Raises `IdempotencyMismatch`, `PreconditionFailed`, and `SessionNotFound` where the key's session is gone.
        """
        if once.key is None:
            once.check(None)
            change = await make(_new_id())
            await self._save(change)
            return Written(change.save.head, change.session)
        claim = Claim(tenant, key_digest(once.key), _new_id(), once.request, time.time())
        claim = await self._store.claim(claim)
        if claim.request != once.request:
            raise mismatch(once, None)

        async def attempt() -> Written:
            head = await self._store.load(claim.session_id)
            if head is not None:
                return Written(head, await self._read(head), replayed=True)
            once.check(None)
            change = await make(claim.session_id)
            try:
                await self._save(change)
            except AlreadyCreated:
                raise not_found(claim.session_id) from None
            return Written(change.save.head, change.session)

        return await self._retried(claim.session_id, attempt)

    async def update(
        self, tenant: str, session_id: str, new_settings: Callable[[Session], Session], once: Once
    ) -> Written:
        """Change settings; from the next step on. A step that was answered before is replayed with the old ones."""

        async def make(head: Head, old: Session) -> Change:
            return await self._compute.run_apart(lambda: changes.settings(head, old, new_settings(old), once))

        return await self._write(tenant, session_id, once, make)

    async def _write(
        self, tenant: str, session_id: str, once: Once, make: Callable[[Head, Session], Awaitable[Change]]
    ) -> Written:
        """Save what `make` makes of the session, once. Every write but a step, a creation and a deletion goes this way.

        Raises `IdempotencyMismatch` and `PreconditionFailed`.
        """

        async def attempt() -> Written:
            informed = await self._informed(session_id, once)
            head, old = await self.get(tenant, session_id)
            if is_repeated(old, informed):
                return Written(head, old, replayed=True)
            once.check(head)
            change = await make(head, old)
            await self._save(change)
            return Written(change.save.head, change.session)

        return await self._retried(session_id, attempt)

    async def delete(self, tenant: str, session_id: str, once: Once) -> None:
        """Remove the session, its state and its history; a damaged one goes too, unless there is an `If-Match`.

        Raises `SessionNotFound`, `IdempotencyMismatch` and `PreconditionFailed`.
        """

        async def attempt() -> None:
            informed = await self._informed(session_id, once)
            expected = None
            try:
                head = await self._head(tenant, session_id)
                if informed.known is not None:
                    raise mismatch(once, informed.known)  # what deletes a session leaves no key
                once.check(head)
                expected = head.stamp
            except StateDamaged:
                if once.if_match is not None:
                    raise
            self._cache.drop(session_id)
            if not await self._store.delete(session_id, expected if once.if_match else None):
                raise not_found(session_id)  # another was quicker: of two who delete it, one did

        await self._retried(session_id, attempt, locked=False)

    async def sweep(self) -> int:
        """Remove what has expired, here and in the store; say how many things went from there."""
        await self._cache.drop_expired()
        return await self._store.sweep()

    async def history(
        self, tenant: str, session_id: str, after: int, limit: int, last: int | None = None
    ) -> list[bytes]:
        """Return rows of the history as JSON, oldest first: those after a step, or the `last` ones."""
        await self._head(tenant, session_id)
        if last is None:
            rows = await self._store.history(session_id, after, limit)
        else:
            rows = await self._store.latest(session_id, last)
        await self._head(tenant, session_id)  # again: rows of a session that is gone by then are none
        return rows

    async def load(self, tenant: str, session_id: str) -> Loaded:
        """Return the session with its state, both of one moment."""

        async def attempt() -> Loaded:
            head, session = await self.get(tenant, session_id)
            return Loaded(head, session, await self._state(head, session))

        return await self._retried(session_id, attempt, locked=False)

    async def hold(self, tenant: str, session_id: str, params: Arrays, once: Once) -> Written:
        """Hold these parameters from now on; steps before are not replayed. Raises the engine's `TensorMismatch`."""

        async def make(head: Head, old: Session) -> Change:
            old.check_holds()
            state = await self._state(head, old)

            def work() -> Change:
                held = state.with_params(params, old.config.wire_dtype)
                return self._fits(old, changes.replacement(head, old, old, held, once, keep=True))

            breadth = old.breadth + TENSOR_BYTES * len(params)
            return await self._compute.run(work, head.state_bytes + nbytes_of(params) + breadth)

        return await self._write(tenant, session_id, once, make)

    async def edit(self, tenant: str, session_id: str, edits: Edits, once: Once) -> Written:
        """Rename, remove and reset tensors; steps before are not replayed."""

        async def make(head: Head, old: Session) -> Change:
            state = await self._state(head, old)
            work = lambda: self._fits(old, changes.edited(Loaded(head, old, state), edits, once))  # noqa: E731
            return await self._compute.run(work, head.state_bytes + 2 * old.breadth)

        return await self._write(tenant, session_id, once, make)

    async def restore(
        self, tenant: str, session_id: str, state: State, fitted: Callable[[Session], Session], once: Once
    ) -> Written:
        """Put `state` in place of the session's, be that damaged; steps before are not replayed.

        `fitted` returns the session with it, or raises.
        """

        async def make(head: Head, old: Session) -> Change:
            work = lambda: self._fits(old, changes.replacement(head, old, fitted(old), state, once, keep=False))  # noqa: E731
            return await self._compute.run(work, state.memory.nbytes + old.breadth + TENSOR_BYTES * len(state.counts))

        return await self._write(tenant, session_id, once, make)

    async def step(self, tenant: str, session_id: str, request: StepRequest) -> StepAnswer:
        """Take one optimizer step, exactly once; the module `replay` says what that means."""

        async def attempt() -> StepAnswer:
            answer = await self._step_unseen(tenant, session_id, request)
            return answer or await self._step_seen(tenant, session_id, request)

        return await self._retried(session_id, attempt)

    async def _step_unseen(self, tenant: str, session_id: str, request: StepRequest) -> StepAnswer | None:
        """Take a small step from what this process has, without a look into the store: the compare-and-save tells
        whether somebody else was quicker, and then no more than a small step was in vain.

        `None` where the store's own head must decide: anything but a step that is new, and is taken or skipped.
        """
        known = self._cache.newest(session_id)
        if known is None or known.head.tenant != tenant or known.head.expired:
            return None
        nbytes = _nbytes(known.head, request)
        if nbytes >= LARGE:
            return None
        try:
            if earlier_answer(known.session, request) is not None:
                return None
            request.once.check(known.head)
            work = lambda: self._stepped(known, request)  # noqa: E731
            change, answer = await self._compute.run(work, nbytes + _breadth(known.session, request))
        except (EngineError, ServiceError):
            return None
        try:
            await self._save(change)
        except (KeyUsed, QuotaExceeded):
            return None
        except VersionConflict:
            self._cache.drop(session_id)
            raise
        return answer

    async def _step_seen(self, tenant: str, session_id: str, request: StepRequest) -> StepAnswer:
        """Take a step from the head that the store has; of a large one, pieces are written while it is computed."""
        request = replace(request, once=await self._informed(session_id, request.once))
        head, session = await self.get(tenant, session_id)
        past = earlier_answer(session, request)
        if past is None:
            request.once.check(head)
        state = await self._state(head, session)
        nbytes = _nbytes(head, request)
        if past is not None:
            work_again = lambda: changes.replay(Loaded(head, session, state), past, request)  # noqa: E731
            return await self._compute.run(work_again, nbytes + _breadth(session, request))
        staging = self._store.stage(session_id, new_token()) if nbytes >= LARGE else None
        try:
            work = lambda: self._stepped(Loaded(head, session, state), request, staging)  # noqa: E731
            change, answer = await self._compute.run(work, nbytes + _breadth(session, request))
        except BaseException:
            if staging is not None:
                await asyncio.shield(staging.discard())
            raise
        await self._save(change)
        return answer

    def _stepped(self, old: Loaded, request: StepRequest, staging: Staging | None = None) -> tuple[Change, StepAnswer]:
        """Return what a step changes and its answer, if the session may grow so far."""
        change, answer = changes.step(old, request, self._compute.machine, staging)
        return self._fits(old.session, change), answer


def _nbytes(head: Head, request: StepRequest) -> int:
    return head.state_bytes + nbytes_of(request.grads, request.params)


def _breadth(session: Session, request: StepRequest) -> int:
    return session.breadth + TENSOR_BYTES * len(request.grads)


def _new_id() -> str:
    """Return 32 hexadecimal digits: the time in nanoseconds, so that ids sort by age, then 64 random bits."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"
