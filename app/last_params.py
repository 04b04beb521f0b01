"""The parameters that a session answered last, by their checksums, held against those that a step brings.

A session that holds its parameters has this only for half-precision tensors, to see if they move at all.
"""

from collections.abc import Iterable, Mapping
from math import isfinite
from weakref import WeakKeyDictionary

from app.checksums import number_checksums_of, with_negative_zeros
from app.errors import ParamsConflict
from app.session import Session
from optim_engine import Layout, Outcome, Spec
from optim_engine.arrays import Array, Arrays

KEPT_BITS = (1 << 32) - 1
"""The bits of a checksum that a stored session keeps: one in four billion changed parameters goes unnoticed."""

_HALVES: WeakKeyDictionary[Layout, tuple[str, ...]] = WeakKeyDictionary()


def others(session: Session, params: Arrays, came: Mapping[str, int]) -> list[str]:
    """Return the names of the tensors whose parameter is not the one that was answered for them last.

    `came` has the checksums of `params`. A tensor that nothing was answered for is free; so are the sign of a zero and
    the bits of a NaN, which not every wire form keeps. Raises `ParamsConflict` where the session rejects such.
    """
    last = session.answered
    if came == last or session.config.on_other_params == "accept":
        return []
    suspects = [name for name, checksum in came.items() if name in last and (last[name] ^ checksum) & KEPT_BITS]
    if not suspects:
        return []
    numbers = number_checksums_of({name: params[name] for name in suspects})
    found = [
        name for name in suspects if (last[name] ^ numbers[name]) & KEPT_BITS and _fits(session, name, params[name])
    ]
    if found and session.config.on_other_params == "reject":
        raise _conflict(session, found[0])
    return found


def _conflict(session: Session, tensor: str) -> ParamsConflict:
    return ParamsConflict(
        f"tensor {tensor!r}: its parameter is not the one that was answered for it last, and its moments belong to "
        "that one; send the one that was answered, load the state that was saved with this one, or set "
        "`on_other_params` to 'accept' where they are meant to differ",
        tensor=tensor,
        current_step=session.step,
    )


def _fits(session: Session, name: str, θ: Array) -> bool:
    """Return whether the shape and dtype are the session's: others are refused for that."""
    entry = session.layout.entries.get(name)
    return entry is None or entry.spec == Spec.of(θ)


def after_step(session: Session, outcome: Outcome, checksums: Mapping[str, int]) -> dict[str, int]:
    """Return what the session has answered last once it has answered the outcome.

    `checksums` are those of its parameters, except of tensors of which some rows are answered: they become unknown.
    """
    params, layout = outcome.params, outcome.state.layout
    if session.config.hold_params:
        halves = halves_of(layout)
        others = {name: checksum for name, checksum in session.answered.items() if name not in params}
        return {**others, **{name: checksums[name] for name in halves if name in checksums}} if halves else {}
    special = with_negative_zeros(params) if isfinite(outcome.metrics.param_norm) else params.keys()
    numbers = number_checksums_of({name: params[name] for name in special}) if special else {}
    answered = {**session.answered, **checksums, **numbers}
    if len(answered) > len(layout.entries):  # of unknown tensors, those of this step alone, which was skipped
        return {name: value for name, value in answered.items() if name in layout.entries or name in checksums}
    return answered


def unmoved(names: Iterable[str], before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Return the names whose parameter is the one from before."""
    return [name for name in names if name in before and name in after and not (before[name] ^ after[name]) & KEPT_BITS]


def halves_of(layout: Layout) -> tuple[str, ...]:
    """Return the names of the layout's tensors of half precision, in its order."""
    halves = _HALVES.get(layout)
    if halves is None:
        names = (name for name, entry in layout.entries.items() if entry.spec.dtype != entry.spec.compute_dtype)
        halves = _HALVES[layout] = tuple(names)
    return halves
