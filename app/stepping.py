"""The main job: one optimizer step, from loading the session to saving it. Knows no HTTP, no wire format.

One path: load, from memory or the store → look for an earlier answer → compute → save.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from app import step_change
from app.change import Change
from app.compute import INLINE_BELOW, TENSOR_BYTES, Compute
from app.errors import ServiceError, StoreUnavailable
from app.expansion import expanded, expanded_nbytes
from app.once import Once
from app.records import Records
from app.replay import earlier_answer, may_be_repeated
from app.room import Room
from app.session import Loaded
from app.step import Collected, KeptAnswer, StepAnswer, StepRequest
from app.store.base import KeyUsed, Saving, Store, new_token
from app.store.piece import PIECE_BYTES
from app.store.stamp import VersionConflict
from app.turns import Turns, finished, retried
from app.web.phases import COMPUTE, LOAD, end_phase, ending
from app.workers import ledgers
from optim_engine import EngineError, is_refused_early

T = TypeVar("T")

LOOKED_AT = 8
"""Bytes whose numbers are checked in the time in which the engine updates one."""

TRIES, PAUSE_SECONDS = 32, 0.005
"""The attempts at saving a step whose ledger others save too, and the unit of the pauses between them."""

LARGE = 4 * PIECE_BYTES
"""Bytes of a step's arrays and state from which on a step is large: a look into the store then costs little compared
to the work that it may save."""


class Stepping:
    """Steps of sessions. `tenant` is whose sessions are seen: another's are not found."""

    def __init__(self, records: Records, turns: Turns, compute: Compute, room: Room) -> None:
        self._records = records
        self._turns = turns
        self._compute = compute
        self._room = room

    async def step(self, tenant: str, session_id: str, request: StepRequest) -> StepAnswer:
        """Take one optimizer step, exactly once; the module `replay` says what that means.

        A small step is computed from memory, without reading the store (optimistic concurrency): the compare-and-save
        finds out if another writer was quicker, and then only a small step is wasted. So is a small request where no
        other process writes. Any other refusal is decided by the store's own head.
        """

        async def attempt() -> StepAnswer:
            old = self._from_memory(tenant, session_id, request)
            if old is not None:
                try:
                    return await self._take(old, await self._expanded(old, request))
                except StoreUnavailable:
                    raise
                except (EngineError, ServiceError, KeyUsed):
                    pass
            return await self._records.informed(session_id, request.once, by_store)

        async def by_store(known: Once) -> StepAnswer:
            old, past = await self._from_store(tenant, session_id, replace(request, once=known))
            if past is None:
                await ledgers.check_no_workers(self._records.store, old.session, "no step was taken")
            dense = await self._expanded(old, request)
            return await (self._take(old, dense) if past is None else _replayed(self._compute, old, past, dense))

        return await self._turns.take(session_id, attempt)

    async def apply(self, old: Loaded, request: StepRequest) -> StepAnswer:
        """Take the step that contributions make of the session as it was loaded, in the turn of the caller.

        Raises `VersionConflict` if the session is another one by now, or its ledger in what concerns the step.
        """
        return await self._take(old, request)

    async def preview(self, tenant: str, session_id: str, request: StepRequest) -> StepAnswer:
        """Return the answer that the step would get now, or its earlier one. Nothing is kept, and nobody waits for it.

        Raises as `step`.
        """

        async def attempt() -> StepAnswer:
            old, past = await self._from_store(tenant, session_id, request)
            dense = await self._expanded(old, request)
            if past is not None:
                return replace(await _replayed(self._compute, old, past, dense), preview=True)
            machine = self._compute.machine(_nbytes(old, dense), old.session.config)
            work = partial(step_change.preview, old, dense, machine, self._room)
            end_phase(LOAD)
            change, answer = await ending(COMPUTE, self._compute.run(work, _work(old, dense)))
            async with self._records.quota.room(change.save):  # or refused, as the save would be
                return answer

        return await retried(session_id, attempt)

    def is_quick(self, session_id: str, nbytes: int) -> bool:
        """Return whether a step with a body of so many bytes needs no thread, and will hardly have to wait."""
        known = self._records.newest(session_id)
        if known is None or self._turns.is_taken(session_id):
            return False
        return int(known.state.memory.nbytes) + nbytes + 2 * known.session.breadth < INLINE_BELOW

    def _from_memory(self, tenant: str, session_id: str, request: StepRequest) -> Loaded | None:
        """Return the session from memory, if the step is small, and new to that session."""
        old = self._records.seen(tenant, session_id)
        if old is None or old.session.workers is not None or _is_large(self._records.store, old, request):
            return None
        try:
            if earlier_answer(old.session, request) is not None:
                return None
            request.once.check(old.head)
        except ServiceError:
            return None
        self._records.cache.hits += 1
        return old

    async def _from_store(self, tenant: str, session_id: str, request: StepRequest) -> tuple[Loaded, KeptAnswer | None]:
        """Return the session as the store has it, and the answer that the request got before."""
        head, session = await self._records.get(tenant, session_id)
        if may_be_repeated(session, request):
            await self._compute.run(lambda: request.once.request, request.nbytes)
        past = earlier_answer(session, request)
        if past is None:
            request.once.check(head)
        return await self._records.with_state(head, session), past

    async def _expanded(self, old: Loaded, request: StepRequest) -> StepRequest:
        """Return the request with dense gradients."""
        if not request.is_compressed:
            return request
        return await self._compute.run(partial(expanded, request, old.session.layout), _work(old, request))

    async def _take(self, old: Loaded, request: StepRequest) -> StepAnswer:
        """Compute the step and save it.

        Pieces of a large one are written meanwhile, and it writes over the state if nobody else reads that.
        """
        nbytes = _nbytes(old, request)
        end_phase(LOAD)
        if nbytes < LARGE:
            return await self._compute_and_save(old, request, nbytes)
        store = self._records.store
        few = store.is_instant and request.rows  # so few bytes change that none need to leave early
        lent_saving = nullcontext() if few else store.saving(old.session.id, new_token(), old.head)
        async with lent_saving as saving:
            if store.keeps_views and (old.session.undo or not await self._may_write_over_all(old, request)):
                return await self._compute_and_save(old, request, nbytes, saving)
            with ExitStack() as lent:
                in_place = lent.enter_context(self._records.in_place(old))
                work = self._work_of(old, request, nbytes, saving, in_place=in_place)
                computed = self._compute.run_apart(work)  # it runs while a task is made
                if in_place and store.keeps_views:  # there is no other copy: finish the step even if it is cancelled
                    return await finished(_within(lent.pop_all(), self._saved(computed, saving, request)))
                return await self._saved(computed, saving, request)

    async def _may_write_over_all(self, old: Loaded, request: StepRequest) -> bool:
        """Return whether nothing can refuse the step any more once it writes over the only copy of the state."""
        if request.may_change:
            return False
        asked = partial(is_refused_early, old.session.config, request.grads, request.grad_scale)
        return await self._compute.run(asked, request.nbytes // LOOKED_AT)

    async def _compute_and_save(
        self, old: Loaded, request: StepRequest, nbytes: int, saving: Saving | None = None
    ) -> StepAnswer:
        work = self._work_of(old, request, nbytes, saving)
        return await self._saved(self._compute.run(work, _work(old, request)), saving, request)

    def _work_of(
        self, old: Loaded, request: StepRequest, nbytes: int, saving: Saving | None, *, in_place: bool = False
    ) -> Callable[[], tuple[Change, StepAnswer]]:
        machine = self._compute.machine(nbytes, old.session.config)
        return partial(step_change.step, old, request, machine, self._room, saving, in_place)

    async def _saved(
        self, computed: Awaitable[tuple[Change, StepAnswer]], saving: Saving | None, request: StepRequest
    ) -> StepAnswer:
        change, answer = await ending(COMPUTE, computed)
        await _save(self._records, change, saving, request.collected)
        return answer


async def _replayed(compute: Compute, old: Loaded, past: KeptAnswer, request: StepRequest) -> StepAnswer:
    work = partial(step_change.replay, old, past, request)
    end_phase(LOAD)
    return await ending(COMPUTE, compute.run(work, _work(old, request)))


async def _save(records: Records, change: Change, saving: Saving | None, collected: Collected | None) -> None:
    try:
        await records.save(change, saving)
    except VersionConflict as conflict:
        if collected is None or isinstance(conflict, KeyUsed):
            raise
        await _save_again(records, change, collected)


async def _save_again(records: Records, change: Change, collected: Collected) -> None:
    """Save a step beside whose ledger others have saved theirs, for as long as that does not concern it."""
    for i in range(TRIES):
        ledger = await collected.renewed()
        if ledger is None:
            break
        with suppress(VersionConflict):
            await records.save(replace(change, save=replace(change.save, ledger=ledger)))
            return
        await asyncio.sleep(random.uniform(0, PAUSE_SECONDS * (1 + i)))
    raise VersionConflict(f"session {change.session.id}: it or its contributions have changed")


async def _within(lent: ExitStack, taken: Awaitable[T]) -> T:
    with lent:
        return await taken


def _nbytes(old: Loaded, request: StepRequest) -> int:
    return int(old.state.memory.nbytes) + expanded_nbytes(request, old.session.layout)


def _is_large(store: Store, old: Loaded, request: StepRequest) -> bool:
    return (request.nbytes if store.is_instant else _nbytes(old, request)) >= LARGE


def _work(old: Loaded, request: StepRequest) -> int:
    """Return how much work the step is, as `Compute.run` counts it."""
    return _nbytes(old, request) + old.session.breadth + TENSOR_BYTES * len(request.grads)
