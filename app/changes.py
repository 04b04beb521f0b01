"""The changes of a session: from the loaded session to the one to save. Pure except for the clock; no I/O."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from app import advice, generations, history, last_params, plain
from app.checksums import checksums_of, params_digest
from app.compute import INLINE_BELOW
from app.digest import digest_of, write_config
from app.errors import InvalidSession, ReplayDiffers
from app.once import Done, Once
from app.passing import Passing, checksums_passed
from app.pieces import Pieces
from app.room import Room
from app.session import Loaded, Session
from app.session_document import write_document
from app.step import KeptAnswer, StepAnswer, StepRequest
from app.store.base import Head, Save, Saving
from app.store.keys import UsedKey
from app.store.piece import Piece, have_sums
from optim_engine import Config, Edits, Outcome, State, TensorMismatch, held_params, reapply
from optim_engine import step as engine_step
from optim_engine.arrays import Arrays, rounded
from optim_engine.checks import refusal_of
from optim_engine.fields import LARGEST_INTEGER
from optim_engine.machine import Machine

RESET = "reset it first (PATCH …/tensors), and its moments begin anew"


@dataclass(frozen=True)
class Change:
    """A save, with the session that results from it, and its state if that changed."""

    save: Save
    session: Session
    state: State | None = None


def create(session: Session, state: State | None, room: Room, *, claimed: bool) -> Change:
    """Make a new session. `claimed`: its id was claimed by an idempotency key, so it is made at most once."""
    if state:
        session = replace(_at(session, state), notes=advice.of_schedule(session.config, state.t, session.config))
    return _created(session, state, room, claimed=claimed)


def fork(source: Loaded, session_id: str, beside: Mapping[str, Any], room: Room, *, claimed: bool) -> Change:
    """Make a new session in another one's state, with the settings `beside` instead of its own.

    It knows the same parameters and warnings, so it answers the next steps alike. It knows no key and no body, so it
    repeats no answer. Both read one memory until they are stepped: no step writes over what another reads (`cache`).
    """
    old, now = source.session, time.time()
    applied = old.applied and replace(old.applied, key=None, body="")
    own = {"id": session_id, "created_at": now, "updated_at": now, "undo": 0, "rewinds": 0}
    session = old.after(**own, applied=applied, skipped=None, old_keys={}, **beside)
    return _created(session, source.state, room, claimed=claimed)


def _created(session: Session, state: State | None, room: Room, *, claimed: bool) -> Change:
    cutting = Pieces(Head(session.id, session.tenant, 0, "", b""), summed=session.sums_pieces)
    pieces = cutting.finish(state.memory) if state else ()
    session = session.with_digest(pieces)
    room.check(None, session)
    head = _head(session, cutting.version, cutting.token, pieces)
    return Change(Save(head, None, state.memory.data if state else None, claimed=claimed), session, state)


def settings(head: Head, old: Session, new: Session, once: Once, state: State | None = None) -> Change:
    """Change the settings, not the state. An earlier step is still replayed with the settings that it used.

    `state` is needed where `needs_state` says so.
    """
    _check_fit(new.config, old, old.config.optimizers_of(old.layout.entries))
    applied = old.applied and _pinned(old.applied, old.config)
    notes = dict(new.notes)
    if new.config.schedule != old.config.schedule:
        notes.pop(advice.SCHEDULE_OVER, None)
        notes |= advice.of_schedule(new.config, new.step)
    if new.config.on_other_params == "accept":
        notes.pop(advice.OTHER_PARAMS, None)
    cutting = Pieces(head, summed=new.sums_pieces)
    pieces = cutting.finish(state.memory) if state else head.pieces
    new = replace(new, updated_at=time.time(), applied=applied, old_keys={}, notes=notes).with_digest(pieces)
    saved = replace(_head(new, cutting.version, cutting.token, pieces), earlier=head.earlier)
    memory = state.memory.data if state else None
    return Change(Save(saved, head, memory, used=_used(old, once, Done(once.request))), new, state)


def needs_state(head: Head, old: Session, new: Session) -> bool:
    """Return whether a change of settings needs the state, because its pieces get checksums of another form."""
    return bool(head.pieces) and old.sums_pieces != new.sums_pieces


def _pinned(answer: KeptAnswer, config: Config) -> KeptAnswer:
    """Return the answer with the settings that its step used."""
    return replace(answer, config=answer.config or write_config(config))


def replacement(
    head: Head,
    old: Session,
    new: Session,
    state: State,
    once: Once,
    room: Room,
    *,
    keep: bool,
    answered: Mapping[str, int] | None = None,
) -> Change:
    """Replace the session's state. Earlier answers can no longer be replayed.

    `answered` has the checksums of the last answered parameters that remain known.
    """
    cutting = Pieces(head, keep=keep, summed=new.sums_pieces)
    pieces = cutting.finish(state.memory)
    new = replace(
        new,
        **_of_state(new.config, state, pieces),
        updated_at=time.time(),
        applied=None,
        skipped=None,
        old_keys={},
        answered=answered or {},
    )
    room.check(old, new)
    forget = state.t if state.t < old.step else None
    saved = _head(new, cutting.version, cutting.token, pieces)
    used = _used(old, once, Done(once.request))
    return Change(Save(saved, head, state.memory.data, forget_after=forget, used=used), new, state)


def edited(old: Loaded, edits: Edits, once: Once, room: Room) -> Change:
    """Edit the session's tensors. Raises `TensorMismatch`, and `InvalidSession` if a tensor's new name puts it into a
    group that needs other moments."""
    session, state = old.session, edits.apply(old.state)
    rules = session.config.optimizers_of(session.layout.entries)
    renamed = {new: rules[old] for old, new in edits.names(rules).items()}
    _check_fit(session.config, _at(session, state), renamed)
    answered = {new: session.answered[name] for name, new in edits.names(session.answered).items()}
    notes = {kind: note for kind, note in session.notes.items() if kind != advice.UNKNOWN_NAMES}
    new = replace(session, notes=notes)
    return replacement(old.head, session, new, state, once, room, keep=True, answered=answered)


def undo(now: Loaded, then: Loaded, row: bytes, once: Once, room: Room) -> Change:
    """Go back to `then`, the session before its last step: all that steps change is as it was, and settings stay.

    `row` is the step's row of the history. Raises `InvalidSession` if the settings need other moments by now.
    """
    old, before, state = now.session, then.session, then.state
    rules = before.config.optimizers_of(before.layout.entries)
    _check_fit(old.config, before, rules, "put the settings of that step back first (PATCH)")
    applied = before.applied
    if applied is not None and before.config != old.config:
        applied = _pinned(applied, before.config)
    summed = bool(old.config.lazy_groups)
    cutting = Pieces(now.head, summed=summed)
    pieces = then.head.pieces if have_sums(then.head.pieces) == summed else cutting.finish(state.memory)
    new = old.after(
        **_of_state(old.config, state, pieces),
        updated_at=time.time(),
        rewinds=old.rewinds + 1,
        applied=applied,
        skipped=before.skipped,
        answered=before.answered,
        notes=advice.of_undone(before, old),
    )
    room.check(old, new)
    head = _head(new, cutting.version, cutting.token, pieces)
    save = Save(
        replace(head, earlier=now.head.earlier[1:]),
        now.head,
        state.memory.data,
        used=_used(old, once, Done(once.request)),
        undone=generations.undone(old, now.head, row),
    )
    return Change(save, new, state)


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
    cutting = Pieces(old.head, saving, summed=session.sums_pieces)
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
        **_of_state(session.config, state, pieces),
        updated_at=time.time(),
        skipped_steps=session.skipped_steps + outcome.skipped,
        old_keys={},
        answered=last_params.after_step(session, outcome, whole),
        notes={**session.notes, **found},
    )
    kept = _kept(request, outcome, after, checksums, advice.of_answer(session, after, found))
    after = after.with_answer(kept, skipped=outcome.skipped)
    room.check(session, after)
    head = _head(after, cutting.version, cutting.token, pieces)
    answer = StepAnswer(kept, outcome.params, head.etag, outcome.skipped, rows=request.rows)
    used = _used(session, request.once, Done(request.once.request, after.step, outcome.skipped))
    row = history.row_of(after, answer, request, started)
    save = Save(head, old.head, state.memory.data, row, used=used)
    if session.undo:
        save = generations.keep(save, session, skipped=outcome.skipped)
    return Change(save, after, state), answer


def preview(old: Loaded, request: StepRequest, machine: Machine, room: Room) -> tuple[Change, StepAnswer]:
    """Return what the step would save, and its answer, with the session's ETag as it stays. Raises as `step`."""
    change, answer = step(old, request, machine, room, None)
    return change, replace(answer, etag=old.head.etag, preview=True)


def _computed(old: Loaded, request: StepRequest, machine: Machine, told: Passing | None, *, in_place: bool) -> Outcome:
    return engine_step(
        old.session.config,
        old.state,
        request.params,
        request.grads,
        lr=request.lr,
        overrides=request.overrides,
        grad_scale=request.grad_scale,
        rows=request.rows,
        filled=told.filled if told else None,
        touching=told.touching if told else None,
        machine=machine,
        in_place=in_place and old.session.step < LARGEST_INTEGER,  # beyond that `room` refuses the computed step
    )


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
        warnings=warnings,
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
        params = {name: rounded(held[name], g.dtype) for name, g in request.grads.items()}
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


def _used(old: Session, once: Once, done: Done) -> tuple[UsedKey, ...]:
    """Return the keys that a save records as used: those of a document of format 1, then the request's."""
    keys = [kept.used(key) for key, kept in old.old_keys.items() if key is not None]
    return (*keys, *([] if once.key is None else [done.used(once.key)]))


def _head(session: Session, version: int, token: str, pieces: tuple[Piece, ...]) -> Head:
    is_long = session.breadth >= INLINE_BELOW  # then it is written now, on a thread
    document = write_document(session) if is_long else partial(write_document, session)
    return Head(session.id, session.tenant, version, token, document, pieces, session.expires_at)


def _at(session: Session, state: State) -> Session:
    return replace(session, step=state.t, layout=state.layout, counts=state.counts)


def _of_state(config: Config, state: State, pieces: Sequence[Piece]) -> dict[str, Any]:
    """Return the members of a session that follow from its state."""
    digest = digest_of(config, state.t, state.layout, state.counts, pieces)
    return {"step": state.t, "layout": state.layout, "counts": state.counts, "digest": digest}


def _check_fit(config: Config, session: Session, rules: Mapping[str, str], way_out: str = RESET) -> None:
    """Raise `InvalidSession` if a tensor's moments are others than the settings need, or of another rule than in
    `rules`, and `TensorMismatch` if its rule cannot update it."""
    entries, groups = session.layout.entries, config.groups_of(session.layout.entries)
    for tensor, entry in entries.items():
        if refusal := refusal_of(config, groups[tensor], tensor, entry.spec.shape):
            raise TensorMismatch(tensor, refusal)
        if not session.counts[tensor]:
            continue
        needed, rule = config.slots_of(groups[tensor], entry.spec.shape), config.optimizer_of(groups[tensor])
        if rule == rules[tensor] and set(entry.slots) == set(needed):
            continue
        old, new = ("" if rule == rules[tensor] else f" of {name}" for name in (rules[tensor], rule))
        moments = (slot for slot in needed if slot != "params")
        raise InvalidSession(
            f"tensor {tensor!r} has the moments ({', '.join(entry.moments)}){old}, but its settings now need "
            f"({', '.join(moments)}){new}: {way_out}",
            tensor=tensor,
        )
