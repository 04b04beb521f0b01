"""Warnings of a session and its steps: nothing is refused, and something may still be wrong.

Some follow from settings and tensors, and are made once for both (`of_layout`). The others belong to a step or a
change: the answer has them, and the session keeps the last one of each kind.
"""

from collections.abc import Collection, Iterator, Mapping
from weakref import WeakKeyDictionary

import numpy as np

from app.last_params import halves_of, unmoved
from app.session import Listed, Session
from app.step import StepRequest
from optim_engine import Config, Layout, Outcome
from optim_engine.arrays import Array, Arrays
from optim_engine.overrides import overridden

SMALLEST_NORMAL_HALF = 2.0**-14
CONFIGS_KEPT = 8
"""Checked configurations that are remembered for each layout."""

OTHER_PARAMS, UNKNOWN_NAMES, SCHEDULE_OVER, ROUNDED_AWAY, UNDERFLOW = (
    "other_params", "unknown_names", "schedule_over", "rounded_away", "underflow",
)  # fmt: skip
"""The kinds of warnings; a session keeps the last one of each."""
LASTING = (ROUNDED_AWAY, UNDERFLOW)
"""Kinds that go on for many steps: a session keeps the first one."""

_OF_LAYOUT: WeakKeyDictionary[Layout, dict[Config, tuple[str, ...]]] = WeakKeyDictionary()


def of_session(session: Session) -> list[str]:
    """Return all that stands under the session's `warnings`."""
    return [*of_layout(session.config, session.layout), *session.notes.values()]


def of_answer(before: Session, after: Session, found: Mapping[str, str]) -> list[str]:
    """Return what an answer says: what the step `found`, and the session's own where settings or tensors are new."""
    past = before.applied
    if before.layout is after.layout and past is not None and past.config is None:
        return list(found.values())
    schedule = [note for kind, note in after.notes.items() if kind == SCHEDULE_OVER]
    return [*of_layout(after.config, after.layout), *schedule, *found.values()]


def of_listed(listed: Listed) -> list[str]:
    """Return the same for a list."""
    return [*_of_tensors(listed.session.config, listed.tensors), *listed.session.notes.values()]


def of_layout(config: Config, layout: Layout) -> tuple[str, ...]:
    """Return the warnings that follow from settings and tensors."""
    kept = _OF_LAYOUT.setdefault(layout, {})
    if config not in kept:
        if len(kept) >= CONFIGS_KEPT:
            kept.clear()
        kept[config] = tuple(_of_tensors(config, layout.entries))
    return kept[config]


def _of_tensors(config: Config, names: Collection[str]) -> Iterator[str]:
    for pattern in config.unmatched(names):
        way_out = "; `[` begins a set of characters, the character itself is written `[[]`" if "[" in pattern else ""
        yield f"groups: the pattern {pattern!r} matches no tensor{way_out}"
    if config.given_groups is None and config.hyperparameters.weight_decay and (decayed := _like_biases(names)):
        yield (
            f"groups: weight decay is on {_listed(decayed)}, which the default group `*bias` does not match; say "
            '`groups`, such as [{"match": ["*[Bb]ias*"], "weight_decay": 0}], or [] to decay every tensor'
        )


def _like_biases(names: Collection[str]) -> list[str]:
    """Return the names that have "bias" in any case, but not at their end, where `*bias` finds it."""
    text = "\0".join([*names, ""])
    if text.lower().count("bias") == text.count("bias\0"):
        return []
    return [name for name in names if "bias" in name.lower() and not name.endswith("bias")]


def of_schedule(config: Config, step: int, saved: Config | None = None) -> dict[str, str]:
    """Return the warning of a schedule that is past its end where it begins, after that step.

    `saved` has the settings that a state was saved with: a warmup that had ended there gives no warning.
    """
    schedule = config.schedule
    if schedule is None or not schedule.is_over(step + 1):
        return {}
    factor = schedule.at(step + 1)
    if factor == 1 and saved is not None and saved.schedule == schedule:
        return {}
    return {
        SCHEDULE_OVER: f"schedule: it is past its end at step {step + 1}, and its factor stays {factor:g}; "
        f"`start_step` {step} begins it there"
    }


def of_undone(before: Session, now: Session) -> dict[str, str]:
    """Return the notes of a session that goes back to what it was `before` a step, and keeps its settings of `now`."""
    notes = {kind: note for kind, note in before.notes.items() if kind != SCHEDULE_OVER}
    if now.config.on_other_params == "accept":
        notes.pop(OTHER_PARAMS, None)
    return notes | {kind: note for kind, note in now.notes.items() if kind == SCHEDULE_OVER}


def of_params(session: Session, others: Collection[str]) -> dict[str, str]:
    """Return the warning of a step whose parameters for those tensors are not the ones that were answered."""
    if not others:
        return {}
    return {
        OTHER_PARAMS: f"the parameter of {_listed(others)} is not the one that was answered for it last, and its "
        "moments belong to that one; load the state that was saved with these parameters, or set "
        "`on_other_params` to 'accept' where they are meant to differ"
    }


def lines(session: Session, found: Mapping[str, str]) -> dict[str, str]:
    """Return the warnings of a step with the number of the first such step, so that a repeated one has the same words.

    `session` is the one before the step. Which halves stand still differs from step to step: the first ones are named.
    """
    if not found:
        return {}
    first, notes = f" (first at step {session.step + 1})", session.notes
    return {
        kind: notes[kind]
        if kind in notes and (kind in LASTING or notes[kind].startswith(text + " ("))
        else text + first
        for kind, text in found.items()
    }


def of_outcome(
    session: Session, outcome: Outcome, request: StepRequest, before: Mapping[str, int], after: Mapping[str, int]
) -> dict[str, str]:
    """Return the warnings of what a step has led to. `session` is the one before it.

    `before` and `after` are the checksums of the parameters.
    """
    if outcome.skipped:
        return {}
    grads, layout, halves = request.grads, outcome.state.layout, halves_of(outcome.state.layout)
    if not halves and layout is session.layout and outcome.metrics.grad_norm >= SMALLEST_NORMAL_HALF:
        return {}  # known tensors, with enough digits
    still = unmoved(halves, before, after)
    return {
        **_unknown_names(session, layout, grads),
        **_rounded_away(session.config, outcome, request, still),
        **_underflow(outcome, grads),
    }


def _unknown_names(session: Session, layout: Layout, grads: Arrays) -> dict[str, str]:
    known = session.layout.entries
    if layout is session.layout or not known or not known.keys().isdisjoint(grads):
        return {}
    return {
        UNKNOWN_NAMES: f"none of a step's tensors ({_listed(grads)}) was known, and none that was known "
        f"({_listed(known)}) is in it: moments begin anew; if names have changed, PATCH …/tensors renames what is known"
    }


def _rounded_away(config: Config, outcome: Outcome, request: StepRequest, still: Collection[str]) -> dict[str, str]:
    """Return the warning of parameters that rounding kept in place, not a zero gradient or a zero learning rate."""
    if not still or not outcome.metrics.update_norm:
        return {}
    rates, grads = overridden(config, request.overrides, request.lr).learning_rates(outcome.state.t), request.grads
    groups = config.groups_of(outcome.state.entries, limited=False)
    names = [name for name in still if rates[groups[name]] and _any_number(grads[name])]
    if not names:
        return {}
    dtype = outcome.params[names[0]].dtype.name
    return {
        ROUNDED_AWAY: f"the parameter of {_listed(names)} has not moved, because {dtype} rounds so small an "
        f"update away; hold float32 parameters (`hold_params`), with `wire_dtype` {dtype!r} where they travel in halves"
    }


def _any_number(g: Array) -> bool:
    """Return whether the gradient has a nonzero; halves are checked by their bits without the sign."""
    return bool((g.view(np.uint16) << 1).any()) if g.dtype.itemsize == 2 else bool(g.any())


def _underflow(outcome: Outcome, grads: Arrays) -> dict[str, str]:
    if not outcome.metrics.grad_norm < SMALLEST_NORMAL_HALF:
        return {}
    if not (names := [name for name, g in grads.items() if g.dtype == np.float16 and g.size]):
        return {}
    return {
        UNDERFLOW: f"the gradient of {_listed(names)} came in float16 and is below 6.1e-05 everywhere, where "
        "float16 loses digits; below 3e-08 it has but 0: send bfloat16 or float32, or scale the loss"
    }


def _listed(names: Collection[str]) -> str:
    """Return the first of the names, and how many more there are."""
    first = [f"{name!r:.80}" for name, _ in zip(names, range(2), strict=False)]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
