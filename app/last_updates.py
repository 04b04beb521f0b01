"""The last update of each tensor, by its sum of squares, packed: it is kept with the session, for its tensors' health.

The sums are float64, little-endian, in the order of the names of the session's tensors; `UNKNOWN` stands for one that
is not known. No bytes at all stand for a session of which none is known, such as one that an earlier version saved.
"""

from collections.abc import Mapping
from math import sqrt
from weakref import WeakKeyDictionary

import numpy as np

from app.session import Session
from optim_engine import Layout, Outcome
from optim_engine.arrays import Array

NUMBER = np.dtype("<f8")
UNKNOWN = -1.0

_PLACES: WeakKeyDictionary[Layout, Mapping[str, int]] = WeakKeyDictionary()


def after_step(session: Session, outcome: Outcome) -> bytes:
    """Return the updates after a step: those of its tensors are new, and the others stay."""
    layout, changes = outcome.state.layout, outcome.changes
    if changes is not None and len(changes) == len(layout.entries):
        return changes.tobytes()
    before = moved(session, layout)
    if changes is None:
        return before
    after = _unpacked(before, layout).copy()
    places = _places(layout)
    after[[places[name] for name in sorted(outcome.params)]] = changes
    return after.tobytes()


def moved(session: Session, layout: Layout, names: Mapping[str, str] | None = None) -> bytes:
    """Return the session's updates for the tensors of another layout; `names` has their new names by the old ones."""
    old = session.layout
    if layout is old or not session.updates:
        return session.updates
    new_names = dict(zip(old.entries, old.entries, strict=True)) if names is None else names
    known, before, places = _unpacked(session.updates, old), _places(old), _places(layout)
    after = np.full(len(places), UNKNOWN, NUMBER)
    for name, new_name in new_names.items():
        if new_name in places:
            after[places[new_name]] = known[before[name]]
    return after.tobytes()


def norms(session: Session) -> dict[str, float | None]:
    """Return the norm of each tensor's last update; `None` where it is not known."""
    sums = _unpacked(session.updates, session.layout).tolist()
    return {name: None if x == UNKNOWN else sqrt(x) for name, x in zip(_places(session.layout), sums, strict=True)}


def _unpacked(updates: bytes, layout: Layout) -> Array:
    if not updates:
        return np.full(len(layout.entries), UNKNOWN, NUMBER)
    return np.frombuffer(updates, NUMBER)


def _places(layout: Layout) -> Mapping[str, int]:
    """Return the place of each tensor among the names in order."""
    places = _PLACES.get(layout)
    if places is None:
        places = _PLACES[layout] = {name: place for place, name in enumerate(sorted(layout.entries))}
    return places
