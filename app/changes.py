"""The changes of a session that are no steps: from the loaded session to the one to save.

Pure except for the clock; no I/O.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from app import advice, generations, last_updates, marks
from app.change import Change, head_of, members_of, used_keys
from app.digest import write_config
from app.errors import InvalidSession
from app.once import Done, Once
from app.pieces import Pieces
from app.room import Room
from app.session import Loaded, Session
from app.step import KeptAnswer
from app.store.base import Head, Save
from app.store.history import Mark
from app.store.ledger import LedgerSave
from app.store.piece import have_sums
from optim_engine import OPTIMIZERS, Config, Edits, State, TensorMismatch
from optim_engine.checks import refusal_of

RESET = "reset it first (PATCH …/tensors), and its moments begin anew"


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
    own = {"id": session_id, "created_at": now, "updated_at": now, "undo": 0, "rewinds": 0, "workers": None}
    session = old.after(**own, applied=applied, skipped=None, old_keys={}, **beside)
    return _created(session, source.state, room, claimed=claimed)


def _created(session: Session, state: State | None, room: Room, *, claimed: bool) -> Change:
    cutting = Pieces(Head(session.id, session.tenant, 0, "", b""), summed=session.sums_pieces)
    pieces = cutting.finish(state.memory) if state else ()
    session = session.with_digest(pieces)
    room.check(None, session)
    head = head_of(session, cutting.version, cutting.token, pieces)
    return Change(Save(head, None, state.memory.data if state else None, claimed=claimed), session, state)


def settings(
    head: Head, old: Session, new: Session, once: Once, state: State | None = None, ledger: LedgerSave | None = None
) -> Change:
    """Change the settings, not the state. An earlier step is still replayed with the settings that it used.

    `state` is needed where `needs_state` says so, and `ledger`, as it stays, where `concern_contributions` does.
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
    saved = replace(head_of(new, cutting.version, cutting.token, pieces), earlier=head.earlier)
    memory = state.memory.data if state else None
    used = used_keys(old, once, Done(once.request))
    return Change(Save(saved, head, memory, used=used, ledger=ledger, mark=marks.of_settings(old, new)), new, state)


def concern_contributions(old: Session, new: Session) -> bool:
    """Return whether a change of settings concerns what contributions are checked against when they come."""
    return old.workers != new.workers or _taken(old.config) != _taken(new.config)


def _taken(config: Config) -> list[Any]:
    """Return what says which gradients a tensor may have: its rule, and whether that takes some rows alone."""
    rules = [(optimizer, OPTIMIZERS[optimizer].refuses_rows(h)) for optimizer, h in config.kinds.values()]
    return [[(group.match, group.sparse) for group in config.groups], rules]


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
    mark: Callable[[Session], Mark],
    answered: Mapping[str, int] | None = None,
    updates: bytes = b"",
) -> Change:
    """Replace the session's state. Earlier answers can no longer be replayed.

    `mark` makes the mark of the session as it then is. `answered` has the checksums of the last answered parameters
    that remain known, `updates` the updates.
    """
    cutting = Pieces(head, keep=keep, summed=new.sums_pieces)
    pieces = cutting.finish(state.memory)
    new = replace(
        new,
        **members_of(new.config, state, pieces),
        updated_at=time.time(),
        applied=None,
        skipped=None,
        old_keys={},
        answered=answered or {},
        updates=updates,
    )
    room.check(old, new)
    forget = state.t if state.t < old.step else None
    saved = head_of(new, cutting.version, cutting.token, pieces)
    used = used_keys(old, once, Done(once.request))
    save = Save(saved, head, state.memory.data, forget_after=forget, used=used, mark=mark(new))
    return Change(save, new, state)


def edited(old: Loaded, edits: Edits, once: Once, room: Room) -> Change:
    """Edit the session's tensors. Raises `TensorMismatch`, and `InvalidSession` if a tensor's new name puts it into a
    group that needs other moments."""
    session, state = old.session, edits.apply(old.state)
    rules = session.config.optimizers_of(session.layout.entries)
    renamed = {new: rules[old] for old, new in edits.names(rules).items()}
    _check_fit(session.config, _at(session, state), renamed)
    answered = {new: session.answered[name] for name, new in edits.names(session.answered).items()}
    names = edits.names({name: None for name in session.layout.entries if name not in edits.reset})
    updates = last_updates.moved(session, state.layout, names)
    notes = {kind: note for kind, note in session.notes.items() if kind != advice.UNKNOWN_NAMES}
    new = replace(session, notes=notes)
    beside: Any = {"mark": partial(marks.of_tensors, edits=edits), "answered": answered, "updates": updates}
    return replacement(old.head, session, new, state, once, room, keep=True, **beside)


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
        **members_of(old.config, state, pieces),
        updated_at=time.time(),
        rewinds=old.rewinds + 1,
        applied=applied,
        skipped=before.skipped,
        answered=before.answered,
        updates=before.updates,
        notes=advice.of_undone(before, old),
    )
    room.check(old, new)
    head = head_of(new, cutting.version, cutting.token, pieces)
    save = Save(
        replace(head, earlier=now.head.earlier[1:]),
        now.head,
        state.memory.data,
        used=used_keys(old, once, Done(once.request)),
        undone=generations.undone(old, now.head, row),
        mark=marks.of_undo(new, old.step),
    )
    return Change(save, new, state)


def _at(session: Session, state: State) -> Session:
    return replace(session, step=state.t, layout=state.layout, counts=state.counts)


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
