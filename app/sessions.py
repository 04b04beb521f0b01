"""The operations on sessions: load → engine → compare-and-save. Knows no HTTP, no store's insides, no wire format.

Every change is optimistic: it turns the loaded head into a new one, which is saved only if the store still has the
loaded head. `records` loads and saves sessions.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from app import changes, generations, last_updates, marks
from app.change import Change
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
from app.web.phases import COMPUTE, ending
from app.workers import ledgers, round_rows
from optim_engine import Config, Edits, State
from optim_engine.arrays import Arrays
from optim_engine.checks import check_shapes


class Creating:
    """The creation of sessions, and of forks. A session of another tenant than `tenant` is not found."""

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
        """Create a session: at step 0, or with that state. `beside` has the settings outside `config`."""

        async def make(session_id: str) -> Change:
            once.check(None)
            now = time.time()
            session = Session(session_id, tenant, config, now, now, skipped_steps=skipped_steps, **beside)
            work = partial(changes.create, session, state, self._room, claimed=once.key is not None)
            return await self._compute.run_apart(work)

        return await self._create(tenant, once, make)

    async def fork(self, tenant: str, source_id: str, beside: Mapping[str, Any], once: Once) -> Written:
        """Create a session in the state of another one, with the settings `beside` instead of its own ones.

        `If-Match` is the other one's. Raises `SessionNotFound`.
        """

        async def make(session_id: str) -> Change:
            source = await self._records.load(tenant, source_id)
            once.check(source.head)
            work = partial(changes.fork, source, session_id, beside, self._room, claimed=once.key is not None)
            return await self._compute.run(work, source.head.state_bytes + source.session.breadth)

        return await self._create(tenant, once, make)

    async def _create(self, tenant: str, once: Once, make: Callable[[str], Awaitable[Change]]) -> Written:
        """Save the session that `make` returns for a new id. A key claims the id first, so a retry finds its session.

        Raises `IdempotencyMismatch`, `PreconditionFailed`, and `SessionNotFound` if the key's session is gone.
        """
        if once.key is None:
            return await self._records.save(await ending(COMPUTE, make(_new_id())))
        claim = Claim(tenant, key_digest(once.key), _new_id(), once.request, time.time())
        claim = await self._records.store.claim(claim)
        if claim.request != once.request:
            raise mismatch(once, None)

        async def attempt() -> Written:
            head = await self._records.store.load(claim.session_id)
            if head is not None:
                await self._records.store.confirm(claim.session_id)
                return Written(head, await self._records.read(head), replayed=True)
            change = await ending(COMPUTE, make(claim.session_id))
            try:
                return await self._records.save(change)
            except AlreadyCreated:
                raise not_found(claim.session_id) from None

        return await self._turns.take(claim.session_id, attempt)


class Sessions(Creating):
    """The operations except a step."""

    async def update(
        self, tenant: str, session_id: str, new_settings: Callable[[Session], Session], once: Once
    ) -> Written:
        """Change settings from the next step on. An earlier step is still replayed with the old ones.

        Raises `RoundOpen` if contributions wait that were checked against what changes.
        """

        async def make(head: Head, old: Session) -> Change:
            new = await self._compute.run_apart(lambda: new_settings(old))
            concerns = old.workers is not None and changes.concern_contributions(old, new)
            ledger = await ledgers.settled(self._records.store, old, new.workers) if concerns else None
            state = (await self._records.with_state(head, old)).state if changes.needs_state(head, old, new) else None
            return await self._compute.run_apart(lambda: changes.settings(head, old, new, once, state, ledger))

        return await self._write(tenant, session_id, once, make)

    async def _write(
        self, tenant: str, session_id: str, once: Once, make: Callable[[Head, Session], Awaitable[Change]]
    ) -> Written:
        """Save the change that `make` returns, once. All writes except steps, creations and deletions come here.

        Raises `IdempotencyMismatch` and `PreconditionFailed`.
        """

        async def attempt(known: Once) -> Written:
            head, old = await self._records.get(tenant, session_id)
            if is_repeated(old, known):
                return Written(head, old, replayed=True)
            once.check(head)
            return await self._records.save(await ending(COMPUTE, make(head, old)))

        return await self._turns.take(session_id, lambda: self._records.informed(session_id, once, attempt))

    async def delete(self, tenant: str, session_id: str, once: Once) -> None:
        """Delete the session, its state and its history; also a damaged one, but not with an `If-Match`.

        Raises `SessionNotFound`, `IdempotencyMismatch` and `PreconditionFailed`.
        """

        async def attempt(known: Once) -> None:
            expected = None
            try:
                head = await self._records.head(tenant, session_id)
                if known.known is not None:
                    raise mismatch(once, known.known)  # a deletion leaves no key behind
                once.check(head)
                expected = head.stamp
            except StateDamaged:
                if once.if_match is not None:
                    raise
            if not await self._records.delete(session_id, expected if once.if_match else None):
                raise not_found(session_id)  # another request has just deleted it

        await retried(session_id, lambda: self._records.informed(session_id, once, attempt))

    async def hold(self, tenant: str, session_id: str, params: Arrays, once: Once) -> Written:
        """Hold these parameters. Earlier steps are no longer replayed. Raises the engine's `TensorMismatch`."""

        async def make(head: Head, old: Session) -> Change:
            old.check_holds()
            if old.layout.entries:
                await ledgers.check_no_workers(self._records.store, old, "no parameters were put")
            state = (await self._records.with_state(head, old)).state

            def work() -> Change:
                check_shapes(old.config, state, params)
                held = state.with_params(params, old.config.wire_dtype)
                beside: Any = {"mark": marks.of_params, "updates": last_updates.moved(old, held.layout)}
                return changes.replacement(head, old, old, held, once, self._room, keep=True, **beside)

            breadth = old.breadth + TENSOR_BYTES * len(params)
            return await self._compute.run(work, head.state_bytes + nbytes_of(params) + breadth)

        return await self._write(tenant, session_id, once, make)

    async def edit(self, tenant: str, session_id: str, edits: Edits, once: Once) -> Written:
        """Rename, remove and reset tensors. Earlier steps are no longer replayed."""

        async def make(head: Head, old: Session) -> Change:
            await ledgers.check_no_workers(self._records.store, old, "no tensor was changed")
            loaded = await self._records.with_state(head, old)
            work = partial(changes.edited, loaded, edits, once, self._room)
            return await self._compute.run(work, head.state_bytes + 2 * old.breadth)

        return await self._write(tenant, session_id, once, make)

    async def undo(self, tenant: str, session_id: str, step: int, once: Once) -> Written:
        """Undo the session's last step, which must have that number. Raises `StepConflict` and `UndoUnavailable`."""

        async def make(head: Head, old: Session) -> Change:
            await ledgers.check_no_workers(self._records.store, old, "nothing was undone")
            generations.newest(old, head, step)
            then, written = await self._records.before(head)
            row = round_rows.newest(await self._records.store.history(session_id, step - 1, 1), written)
            now = Loaded(head, old, then.state)
            work = partial(changes.undo, now, then, row, once, self._room)
            return await self._compute.run(work, then.head.state_bytes + then.session.breadth)

        return await self._write(tenant, session_id, once, make)

    async def restore(
        self, tenant: str, session_id: str, state: State, fitted: Callable[[Session], Session], once: Once
    ) -> Written:
        """Replace the session's state, even a damaged one. Earlier steps are no longer replayed.

        `fitted` returns the session that fits the state, or raises.
        """

        async def make(head: Head, old: Session) -> Change:
            if old.layout.entries:
                await ledgers.check_no_workers(self._records.store, old, "no state was put")

            def work() -> Change:
                mark = partial(marks.of_state, old)
                return changes.replacement(head, old, fitted(old), state, once, self._room, keep=False, mark=mark)

            return await self._compute.run(work, state.memory.nbytes + old.breadth + TENSOR_BYTES * len(state.counts))

        return await self._write(tenant, session_id, once, make)


def _new_id() -> str:
    """Return 32 hexadecimal digits: the time in nanoseconds, so that ids sort by age, then 64 random bits."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"
