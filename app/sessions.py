"""The verbs of sessions: load → engine → compare-and-save. Knows no HTTP, no store's insides, no wire format.

Every change goes the same way: from the head that was read to a new head, saved only if the store still holds the
former. How a session is loaded and saved is in `records`.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from app import changes
from app.changes import Change
from app.compute import TENSOR_BYTES, Compute
from app.errors import StateDamaged
from app.once import Once
from app.records import Records, Written, not_found
from app.replay import is_repeated, mismatch
from app.room import Room
from app.session import Loaded, Session
from app.step import nbytes_of
from app.store.base import AlreadyCreated, Head
from app.store.keys import Claim, key_digest
from app.turns import Turns, retried
from optim_engine import Config, Edits, State
from optim_engine.arrays import Arrays
from optim_engine.checks import check_shape


class Sessions:
    """The verbs, all but a step. `tenant` is whose sessions are seen: another's are not found."""

    def __init__(self, records: Records, turns: Turns, compute: Compute, room: Room) -> None:
        self._records = records
        self._turns = turns
        self._compute = compute
        self._room = room

    async def create(
        self,
        tenant: str,
        config: Config,
        once: Once,
        *,
        skipped_steps: int = 0,
        state: State | None = None,
        **beside: Any,
    ) -> Written:
        """Make a session: at step 0, or with that state. `beside` are the settings that are not in `config`."""

        async def make(session_id: str) -> Change:
            now = time.time()
            session = Session(session_id, tenant, config, now, now, skipped_steps=skipped_steps, **beside)
            work = partial(changes.create, session, state, self._room, claimed=once.key is not None)
            return await self._compute.run_apart(work)

        return await self._create(tenant, once, make)

    async def _create(self, tenant: str, once: Once, make: Callable[[str], Awaitable[Change]]) -> Written:
        """Save what `make` makes of a new id. With a key, the id is claimed first: sent again, it is the same session.

        Raises `IdempotencyMismatch`, `PreconditionFailed`, and `SessionNotFound` where the key's session is gone.
        """
        if once.key is None:
            once.check(None)
            return await self._records.save(await make(_new_id()))
        claim = Claim(tenant, key_digest(once.key), _new_id(), once.request, time.time())
        claim = await self._records.store.claim(claim)
        if claim.request != once.request:
            raise mismatch(once, None)

        async def attempt() -> Written:
            head = await self._records.store.load(claim.session_id)
            if head is not None:
                return Written(head, await self._records.read(head), replayed=True)
            once.check(None)
            change = await make(claim.session_id)
            try:
                return await self._records.save(change)
            except AlreadyCreated:
                raise not_found(claim.session_id) from None

        return await self._turns.take(claim.session_id, attempt)

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
            informed = await self._records.informed(session_id, once)
            head, old = await self._records.get(tenant, session_id)
            if is_repeated(old, informed):
                return Written(head, old, replayed=True)
            once.check(head)
            return await self._records.save(await make(head, old))

        return await self._turns.take(session_id, attempt)

    async def delete(self, tenant: str, session_id: str, once: Once) -> None:
        """Remove the session, its state and its history; a damaged one goes too, unless there is an `If-Match`.

        Raises `SessionNotFound`, `IdempotencyMismatch` and `PreconditionFailed`.
        """

        async def attempt() -> None:
            informed = await self._records.informed(session_id, once)
            expected = None
            try:
                head = await self._records.head(tenant, session_id)
                if informed.known is not None:
                    raise mismatch(once, informed.known)  # what deletes a session leaves no key
                once.check(head)
                expected = head.stamp
            except StateDamaged:
                if once.if_match is not None:
                    raise
            if not await self._records.delete(session_id, expected if once.if_match else None):
                raise not_found(session_id)  # another was quicker: of two who delete it, one did

        await retried(session_id, attempt)

    async def hold(self, tenant: str, session_id: str, params: Arrays, once: Once) -> Written:
        """Hold these parameters from now on; steps before are not replayed. Raises the engine's `TensorMismatch`."""

        async def make(head: Head, old: Session) -> Change:
            old.check_holds()
            state = await self._records.state(head, old)

            def work() -> Change:
                for name, array in params.items():
                    check_shape(old.config, name, array.shape)
                held = state.with_params(params, old.config.wire_dtype)
                return changes.replacement(head, old, old, held, once, self._room, keep=True)

            breadth = old.breadth + TENSOR_BYTES * len(params)
            return await self._compute.run(work, head.state_bytes + nbytes_of(params) + breadth)

        return await self._write(tenant, session_id, once, make)

    async def edit(self, tenant: str, session_id: str, edits: Edits, once: Once) -> Written:
        """Rename, remove and reset tensors; steps before are not replayed."""

        async def make(head: Head, old: Session) -> Change:
            loaded = Loaded(head, old, await self._records.state(head, old))
            work = partial(changes.edited, loaded, edits, once, self._room)
            return await self._compute.run(work, head.state_bytes + 2 * old.breadth)

        return await self._write(tenant, session_id, once, make)

    async def restore(
        self, tenant: str, session_id: str, state: State, fitted: Callable[[Session], Session], once: Once
    ) -> Written:
        """Put `state` in place of the session's, be that damaged; steps before are not replayed.

        `fitted` returns the session with it, or raises.
        """

        async def make(head: Head, old: Session) -> Change:
            def work() -> Change:
                return changes.replacement(head, old, fitted(old), state, once, self._room, keep=False)

            return await self._compute.run(work, state.memory.nbytes + old.breadth + TENSOR_BYTES * len(state.counts))

        return await self._write(tenant, session_id, once, make)


def _new_id() -> str:
    """Return 32 hexadecimal digits: the time in nanoseconds, so that ids sort by age, then 64 random bits."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"
