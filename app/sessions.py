"""The verbs of sessions: load → engine → compare-and-save. Knows no HTTP, no store's insides, no wire format.

Every change goes the same way: from the head that was read to a new head, saved only if the store still holds the
former. A lock for each session saves this process wasted work; the compare-and-save is what makes it true.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from app import changes
from app.cache import Loaded, StateCache
from app.changes import Change, StepAnswer, StepRequest, nbytes_of
from app.compute import TENSOR_BYTES, Compute
from app.errors import QuotaExceeded, ServiceError, SessionBusy, SessionNotFound, StateDamaged
from app.once import Done, Once
from app.quota import Quota
from app.replay import earlier_answer, is_repeated, mismatch
from app.room import Room
from app.session import Session, read_document
from app.store.base import (
    PIECE_BYTES,
    AlreadyCreated,
    Head,
    IncompatibleStore,
    KeyUsed,
    Staging,
    Store,
    VersionConflict,
    new_token,
)
from app.store.keys import Claim, key_digest
from optim_engine import Config, Edits, EngineError, State
from optim_engine.arrays import Arrays

T = TypeVar("T")

TRIES = 8
"""How often a change is made anew because another writer was quicker, before the client is told to come again."""
LARGE = 4 * PIECE_BYTES
"""Bytes of a step's arrays and state: from here on its pieces are many, and a look into the store costs little beside
the work that it may save."""


class Written(NamedTuple):
    """The result of a write: the session as it is now; `replayed` says that the write was done before."""

    head: Head
    session: Session
    replayed: bool = False


class Sessions:
    """The verbs. `tenant` is whose sessions are seen: another's are not found."""

    def __init__(self, store: Store, compute: Compute, cache: StateCache, quota: Quota, room: Room) -> None:
        self._store = store
        self._quota = quota
        self._room = room
        self._compute = compute
        self._cache = cache
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

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
                raise _not_found(claim.session_id) from None
            return Written(change.save.head, change.session)

        return await self._retried(claim.session_id, attempt)

    async def get(self, tenant: str, session_id: str) -> tuple[Head, Session]:
        """Return the session. Raises `SessionNotFound`."""
        head = await self._head(tenant, session_id)
        return head, await self._read(head)

    async def _read(self, head: Head) -> Session:
        cached = self._cache.get(head)
        return cached.session if cached else await self._compute.run(partial(read_document, head), len(head.document))

    async def known(self, tenant: str, session_id: str) -> Session:
        """Return the session as this process saw it last, or as the store has it. Raises `SessionNotFound`."""
        seen = self._cache.newest(session_id)
        if seen is not None and seen.head.tenant == tenant and not seen.head.expired:
            return seen.session
        return (await self.get(tenant, session_id))[1]

    async def _head(self, tenant: str, session_id: str) -> Head:
        try:
            head = await self._store.load(session_id)
        except (StateDamaged, IncompatibleStore):
            if await self._store.is_listed(tenant, session_id):
                raise
            raise _not_found(session_id) from None  # it is another's, as far as can be told
        if head is None or head.tenant != tenant:
            raise _not_found(session_id)
        return head

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
            known = await self._known(session_id, once)
            head, old = await self.get(tenant, session_id)
            if is_repeated(old, once, known):
                return Written(head, old, replayed=True)
            once.check(head)
            change = await make(head, old)
            await self._save(change)
            return Written(change.save.head, change.session)

        return await self._retried(session_id, attempt)

    async def _known(self, session_id: str, once: Once) -> Done | None:
        """Return what the store knows of a request's key. To be asked before the head is loaded: so a step that comes
        in between is seen in either."""
        if once.key is None:
            return None
        row = await self._store.used(session_id, key_digest(once.key))
        return None if row is None else Done.read(row)

    async def delete(self, tenant: str, session_id: str, once: Once) -> None:
        """Remove the session, its state and its history; a damaged one goes too, unless there is an `If-Match`.

        Raises `SessionNotFound`, `IdempotencyMismatch` and `PreconditionFailed`.
        """

        async def attempt() -> None:
            known = await self._known(session_id, once)
            expected = None
            try:
                head = await self._head(tenant, session_id)
                if known is not None:
                    raise mismatch(once, known)  # what deletes a session leaves no key
                once.check(head)
                expected = head.stamp
            except StateDamaged:
                if once.if_match is not None:
                    raise
            self._cache.drop(session_id)
            if not await self._store.delete(session_id, expected if once.if_match else None):
                raise _not_found(session_id)  # another was quicker: of two who delete it, one did

        await self._retried(session_id, attempt, locked=False)

    async def sweep(self) -> int:
        """Remove what has expired, here and in the store; say how many things went from there."""
        self._cache.drop_expired()
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
            work = lambda: self._fits(old, changes.edited(head, old, state, edits, once))  # noqa: E731
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
            if earlier_answer(known.session, request.step, request.once, None) is not None:
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
        done = await self._known(session_id, request.once)
        head, session = await self.get(tenant, session_id)
        past = earlier_answer(session, request.step, request.once, done)
        if past is None:
            request.once.check(head)
        state = await self._state(head, session)
        nbytes = _nbytes(head, request)
        if past is not None:
            work_again = lambda: changes.replay(head, session, state, past, request)  # noqa: E731
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
        change, answer = changes.step(old.head, old.session, old.state, request, self._compute.machine, staging)
        return self._fits(old.session, change), answer

    def _fits(self, old: Session | None, change: Change) -> Change:
        """Return the change, if the session may grow so far: one of many tensors is looked at for a while."""
        self._room.check(old, change.session)
        return change

    async def _state(self, head: Head, session: Session) -> State:
        cached = self._cache.get(head)
        if cached is not None:
            return cached.state
        if head.state_bytes != session.layout.nbytes:
            raise StateDamaged(
                f"session {session.id}: its pieces are {head.state_bytes} bytes, its tensors need "
                f"{session.layout.nbytes}; restore the store from a backup or upload a saved state"
            )
        state = State.allocate(session.step, session.layout, session.counts)
        await self._store.read(head, state.memory.data)
        self._cache.put(Loaded(head, session, state))
        return state

    async def _save(self, change: Change) -> None:
        """Save, and keep what was saved. A cancelled request cannot stop a save half-way: it is finished without it."""
        save = change.save
        cached = self._cache.get(save.previous) if save.previous else None

        async def commit() -> None:
            async with self._quota.room(save):
                await self._store.save(save)
            state = change.state or (cached and cached.state)
            if state:
                self._cache.put(Loaded(save.head, change.session, state))

        await asyncio.shield(commit())

    async def _retried(self, session_id: str, attempt: Callable[[], Awaitable[T]], *, locked: bool = True) -> T:
        """Return what `attempt` returns, tried anew where another writer was quicker."""
        for _ in range(TRIES):
            try:
                if not locked:
                    return await attempt()
                async with self._locks.setdefault(session_id, asyncio.Lock()):
                    return await attempt()
            except VersionConflict:
                continue
        raise SessionBusy(f"session {session_id}: {TRIES} other changes came first; send the request again")


def _not_found(session_id: str) -> SessionNotFound:
    return SessionNotFound(f"there is no session {session_id!r:.80}; it never was, has expired or was deleted")


def _nbytes(head: Head, request: StepRequest) -> int:
    return head.state_bytes + nbytes_of(request.grads, request.params)


def _breadth(session: Session, request: StepRequest) -> int:
    return session.breadth + TENSOR_BYTES * len(request.grads)


def _new_id() -> str:
    """Return 32 hexadecimal digits: the time in nanoseconds, so that ids sort by age, then 64 random bits."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"
