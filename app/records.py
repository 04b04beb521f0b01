"""Sessions as records of the store: loaded, kept in memory, and saved if nobody was quicker. Knows no HTTP."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from app import generations
from app.cache import StateCache
from app.change import Change
from app.compute import Compute
from app.errors import ServiceError, SessionNotFound, StateDamaged, StoreUnavailable
from app.once import Done, Once
from app.quota import Quota
from app.session import Loaded, Session
from app.session_document import read_document
from app.store.base import Head, IncompatibleStore, KeyUsed, Saving, Store
from app.store.keys import key_digest
from app.store.stamp import Stamp, VersionConflict
from app.turns import finished, retried
from app.web.phases import LOAD, SAVE, ending
from optim_engine import EngineError, State
from optim_engine.buffers import is_sole

T = TypeVar("T")

Wake = Callable[[str, int | None], None]
"""A function that is told of each save of a session with its version, and of its deletion with `None`."""


def _nobody(_session_id: str, _version: int | None) -> None:
    """Wake nobody."""


class Written(NamedTuple):
    """The result of a write: the session as it is now; `replayed` says that the write was done before."""

    head: Head
    session: Session
    replayed: bool = False

    @property
    def etag(self) -> str:
        """Return the session's `ETag` now."""
        return self.head.etag


class Records:
    """The sessions of a store. `tenant` is whose are seen: another's are not found."""

    def __init__(self, store: Store, compute: Compute, cache: StateCache, quota: Quota, wake: Wake = _nobody) -> None:
        self.store = store
        self.quota = quota
        self._wake = wake
        self._compute = compute
        self.cache = cache

    async def get(self, tenant: str, session_id: str) -> tuple[Head, Session]:
        """Return the session. Raises `SessionNotFound`."""
        head = await self.head(tenant, session_id)
        return head, await ending(LOAD, self.read(head))

    async def head(self, tenant: str, session_id: str) -> Head:
        """Return the session's head alone. Raises `SessionNotFound`."""
        try:
            head = await self.store.load(session_id)
        except (StateDamaged, IncompatibleStore):
            if await self.store.is_listed(tenant, session_id):
                raise
            raise not_found(session_id) from None  # it is another's, as far as can be told
        if head is None or head.tenant != tenant:
            raise not_found(session_id)
        return head

    async def read(self, head: Head) -> Session:
        """Return the session of a head."""
        cached = self.cache.get(head)
        return cached.session if cached else await self._compute.run(partial(read_document, head), len(head.document))

    async def with_state(self, head: Head, session: Session) -> Loaded:
        """Return them with the state that belongs to them. Raises `StateDamaged`."""
        cached = self.cache.find(head)
        if cached is not None:
            return Loaded(head, session, cached.state, cached.blocks)
        loaded = Loaded(head, session, await ending(LOAD, _read_state(self.store, head, session)))
        self.cache.put(loaded)
        return Loaded(head, session, loaded.state.shared())

    async def before(self, head: Head) -> tuple[Loaded, bytes]:
        """Return the session from before its last step, and the row of that step in the history."""
        then, row = generations.read(head, await _read_bytes(self.store, generations.with_document(head)))
        session = await self._compute.run(partial(read_document, then), len(then.document))
        return Loaded(then, session, await _read_state(self.store, then, session)), row

    async def load(self, tenant: str, session_id: str) -> Loaded:
        """Return the session with its state, both of one moment."""

        async def attempt() -> Loaded:
            head, session = await self.get(tenant, session_id)
            return await self.with_state(head, session)

        return await retried(session_id, attempt)

    def newest(self, session_id: str) -> Loaded | None:
        """Return any tenant's session as this process saw it last."""
        return self.cache.newest(session_id)

    def seen(self, tenant: str, session_id: str) -> Loaded | None:
        """Return the session as this process saw it last. The store may have a newer one."""
        seen = self.cache.newest(session_id)
        return seen if seen is not None and seen.head.tenant == tenant and not seen.head.expired else None

    async def known(self, tenant: str, session_id: str) -> Session:
        """Return the session as this process saw it last, or as the store has it. Raises `SessionNotFound`."""
        seen = self.seen(tenant, session_id)
        return seen.session if seen else (await self.get(tenant, session_id))[1]

    async def history(
        self, tenant: str, session_id: str, after: int, limit: int, last: int | None = None
    ) -> list[bytes]:
        """Return rows of the history as JSON, oldest first: those after a step, or the `last` ones."""
        await self.head(tenant, session_id)
        if last is None:
            rows = await self.store.history(session_id, after, limit)
        else:
            rows = await self.store.latest(session_id, last)
        await self.head(tenant, session_id)  # again: rows of a session that is gone by then are none
        return rows

    async def informed(self, session_id: str, once: Once, attempt: Callable[[Once], Awaitable[T]]) -> T:
        """Return what `attempt` returns, called with the conditions and the key's record in the store.

        The record is read before `attempt` loads the head. In between, another try of the request may be done, and what
        follows from it may look like a reason to refuse this one. So after a refusal the record is read again.
        """
        known = await _known(self.store, session_id, once)
        try:
            return await _confirmed(self.store, session_id, attempt(known))
        except StoreUnavailable:
            raise
        except (EngineError, ServiceError):
            if once.key is None or known.known is not None:
                raise
            known = await _known(self.store, session_id, once)
            if known.known is None:
                raise
        return await _confirmed(self.store, session_id, attempt(known))

    @contextmanager
    def in_place(self, old: Loaded) -> Iterator[bool]:
        """Yield whether a step may write over the state, which then is the caller's alone (`cache` says why)."""
        memory, was_cached = old.state.memory, self.cache.take(old.head)
        with ExitStack() as stack:
            if not is_sole(memory):
                stack.enter_context(self.store.written_over(old.head, memory.data))
            is_alone = is_sole(memory)
            if not is_alone:
                stack.close()
                if was_cached:
                    self.cache.put(old)
            yield is_alone

    async def save(self, change: Change, saving: Saving | None = None) -> Written:
        """Save, and cache what was saved. A save is finished even if its request is cancelled."""
        commit = self._commit(change, saving)
        return await ending(SAVE, commit if saving is None and self.store.is_instant else finished(commit))

    async def _commit(self, change: Change, saving: Saving | None) -> Written:
        save, state, blocks = change.save, change.state, change.blocks
        if state is None and save.previous is not None and (cached := self.cache.get(save.previous)) is not None:
            state, blocks = cached.state, cached.blocks
        try:
            if saving is None and not self.quota.concerns(save):
                await self.store.save(save)
            else:
                async with saving or nullcontext(), self.quota.room(save):
                    await (saving or self.store).save(save)
        except VersionConflict as conflict:
            if not isinstance(conflict, KeyUsed):
                self.cache.drop(save.head.session_id)  # what is here is behind
            raise
        if state is not None:
            self.cache.put(Loaded(save.head, change.session, state, blocks))
        self._wake(save.head.session_id, save.head.version)
        return Written(save.head, change.session)

    async def delete(self, session_id: str, expected: Stamp | None) -> bool:
        """Remove the session; say whether there was one."""
        self.cache.drop(session_id)
        existed = await self.store.delete(session_id, expected)
        self._wake(session_id, None)
        return existed

    async def sweep(self) -> int:
        """Remove what has expired, here and in the store; say how many things went from there."""
        await self.cache.drop_expired()
        return await self.store.sweep()


async def _confirmed(store: Store, session_id: str, attempted: Awaitable[T]) -> T:
    """Return what an attempt does, which may be the answer of an earlier one, once that is durable."""
    answer = await attempted
    await store.confirm(session_id)
    return answer


async def _read_bytes(store: Store, head: Head) -> bytes:
    written = bytearray(head.state_bytes)
    await store.read(head, memoryview(written))
    return bytes(written)


async def _read_state(store: Store, head: Head, session: Session) -> State:
    """Return the state of the head's pieces. Raises `StateDamaged`."""
    if head.state_bytes != session.layout.nbytes:
        raise StateDamaged(
            f"session {session.id}: its pieces are {head.state_bytes} bytes, its tensors need "
            f"{session.layout.nbytes}; restore the store from a backup or upload a saved state"
        )
    state = State.allocate(session.step, session.layout, session.counts)
    await store.read(head, state.memory.data)
    return state


async def _known(store: Store, session_id: str, once: Once) -> Once:
    """Return the conditions with what the store knows of their key."""
    row = None if once.key is None else await store.used(session_id, key_digest(once.key))
    return once if row is None else replace(once, known=Done.read(row))


def not_found(session_id: str) -> SessionNotFound:
    return SessionNotFound(f"unknown session {session_id!r:.80}: it never existed, has expired or was deleted")
