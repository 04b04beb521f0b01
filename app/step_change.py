"""The change that a step makes, and its answer: computed from the loaded session, or again for a replay.

Pure except for the clock; no I/O.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app import advice, generations, history, last_params, last_updates, plain
from app.change import Change, head_of, members_of, used_keys
from app.checksums import checksums_of, params_digest
from app.errors import NonFinite, ReplayDiffers
from app.once import Done
from app.passing import Passing, checksums_passed
from app.pieces import Pieces
from app.room import Room
from app.session import Loaded, Session
from app.step import KeptAnswer, StepAnswer, StepRequest
from app.store.base import Save, Saving
from optim_engine import Config, Outcome, held_params, reapply
from optim_engine import step as engine_step
from optim_engine.arrays import Arrays, rounded
from optim_engine.fields import LARGEST_INTEGER
from optim_engine.machine import Machine


def step(
    old: Loaded, request: StepRequest, machine: Machine, room: Room, saving: Saving | None, in_place: bool = False
) -> tuple[Change, StepAnswer]:
    """Take one optimizer step. Raises the engine's errors and those of `room`; nothing has changed then.

    A `saving` gets each fresh piece as soon as it is whole. With `in_place` the old state is void afterwards.
    """
    started, session = time.perf_counter(), old.session
    room.check_names(session.layout, request.grads)
    came = {} if session.config.hold_params else checksums_of(request.params)
    others = last_params.others(session, request.params, came)
    cutting = Pieces(old.head, saving, summed=session.sums_pieces, blocks=old.blocks if in_place else None)
    passing = Passing(cutting, session.layout, request) if cutting.listens else None
    outcome = _computed(old, request, machine, passing, in_place=in_place)
    state = outcome.state
    pieces = old.head.pieces if state is old.state else cutting.finish(state.memory)
    checksums = came if outcome.skipped and came else checksums_passed(outcome.params, passing)
    whole = {name: checksum for name, checksum in checksums.items() if name not in request.rows}
    before = came or session.answered
    found = advice.of_params(session, others) | advice.of_outcome(session, outcome, request, before, whole)
    found = advice.lines(session, found)
    after = session.after(
        **members_of(session.config, state, pieces),
        updated_at=time.time(),
        skipped_steps=session.skipped_steps + outcome.skipped,
        old_keys={},
        answered=last_params.after_step(session, outcome, whole),
        updates=last_updates.after_step(session, outcome),
        notes={**session.notes, **found},
    )
    kept = _kept(request, outcome, after, checksums, advice.of_answer(session, after, found))
    after = after.with_answer(kept, skipped=outcome.skipped)
    room.check(session, after)
    head = head_of(after, cutting.version, cutting.token, pieces)
    answer = StepAnswer(kept, outcome.params, head.etag, outcome.skipped, rows=request.rows)
    used = used_keys(session, request.once, Done(request.once.request, after.step, outcome.skipped))
    row = history.row_of(after, answer, request, started, head.version)
    save = Save(head, old.head, state.memory.data, row, used=used, ledger=request.ledger)
    save = generations.keep(save, session, skipped=outcome.skipped) if session.undo else save
    return Change(save, after, state, cutting.blocks), answer


def preview(old: Loaded, request: StepRequest, machine: Machine, room: Room) -> tuple[Change, StepAnswer]:
    """Return what the step would save, and its answer, with the session's ETag as it stays. Raises as `step`."""
    change, answer = step(old, request, machine, room, None)
    return change, replace(answer, etag=old.head.etag, preview=True)


def _computed(
    old: Loaded, request: StepRequest, machine: Machine, passing: Passing | None, *, in_place: bool
) -> Outcome:
    outcome = engine_step(
        old.session.config,
        old.state,
        request.params,
        request.grads,
        lr=request.lr,
        overrides=request.overrides,
        grad_scale=request.grad_scale,
        rows=request.rows,
        dtypes=request.dtypes,
        filled=passing.filled if passing else None,
        touching=passing.touching if passing else None,
        machine=machine,
        in_place=in_place and old.session.step < LARGEST_INTEGER,  # beyond that `room` refuses the computed step
    )
    if outcome.skipped and request.dtypes is not None:
        raise NonFinite("the aggregate of the contributions is not finite")
    return outcome


def _kept(
    request: StepRequest, outcome: Outcome, after: Session, checksums: Mapping[str, int], warnings: Sequence[str]
) -> KeptAnswer:
    return KeptAnswer(
        step=after.step,
        key=request.once.key,
        body=request.once.request,
        lr=request.lr,
        metrics=plain.numbers(vars(outcome.metrics)),
        digest=after.digest,
        params_digest=params_digest(
            outcome.params, checksums, None if outcome.skipped or request.rows else after.layout
        ),
        warnings=[*warnings, *(request.collected.warnings if request.collected else ())],
    )


def replay(now: Loaded, past: KeptAnswer, request: StepRequest) -> StepAnswer:
    """Return the answer of `past` again, with parameters computed from the request and the saved state.

    Raises `ReplayDiffers` if they differ from the answered ones.
    """
    session, state = now.session, now.state
    skipped = past is session.skipped
    params: Arrays
    if session.config.hold_params:
        held = held_params(state, {name: request.rows.get(name) for name in request.grads})
        params = {name: rounded(held[name], request.dtype_of(name)) for name in request.grads}
    elif skipped:
        params = {name: request.params[name] for name in request.grads}
    else:
        config = Config.parse(**past.config) if past.config else session.config
        scale = float(past.metrics["clip_scale"])
        params = reapply(
            config,
            state,
            request.params,
            request.grads,
            clip_scale=scale,
            lr=past.lr,
            overrides=request.overrides,  # the body is the same, so these are the step's too
            grad_scale=request.grad_scale,
        )
    digest = params_digest(params, checksums_of(params), None if skipped or request.rows else state.layout)
    if past.params_digest not in {None, digest}:
        raise ReplayDiffers(
            f"step {past.step} was answered with parameters of digest {past.params_digest}; the replay has {digest}: "
            "did another kind of machine or another version compute it? Go on from the parameters that you had, or "
            "put a saved state back",
            expected=past.params_digest,
            got=digest,
        )
    kept = replace(past, params_digest=digest)
    return StepAnswer(kept, params, now.head.etag, skipped, replayed=True, rows=request.rows)
