"""The marks beside a session's history: what happened to it between steps, as JSON."""

from typing import Any

import orjson

from app import plain
from app.session import Session
from app.store.history import Mark
from optim_engine import Edits

UNDO, SETTINGS = "undo", "settings"
MOST_NAMES = 20
"""The most names of tensors in a mark."""
LONGEST = 1000
"""The longest value in a mark, in bytes of JSON; `null` stands for a longer one."""
NESTED = "hyperparameters"
"""The setting whose members are named one by one."""


def of_undo(session: Session, undone: int) -> Mark:
    """Return the mark of an undo, from the session after it and the number of the step that is undone."""
    return _mark(UNDO, session, undone=undone)


def of_settings(old: Session, new: Session) -> Mark | None:
    """Return the mark of changed settings; `None` if they are the same."""
    before, after = _settings(old), _settings(new)
    names = dict.fromkeys((*before, *after))
    both = {name: (before.get(name), after.get(name)) for name in names}
    changed = {name: [*map(_short, values)] for name, values in both.items() if values[0] != values[1]}
    return _mark(SETTINGS, new, changed=changed) if changed else None


def of_state(old: Session, new: Session) -> Mark:
    """Return the mark of a loaded state."""
    return _mark(SETTINGS, new, changed={"step": [old.step, new.step]})


def of_params(new: Session) -> Mark:
    """Return the mark of uploaded parameters."""
    return _mark(SETTINGS, new, changed={"params": [None, None]})


def of_tensors(new: Session, edits: Edits) -> Mark:
    """Return the mark of edited tensors: their names before, and after."""
    before = [*edits.rename, *edits.remove, *edits.reset]
    after = [*edits.rename.values(), *edits.reset]
    return _mark(SETTINGS, new, changed={"tensors": [before[:MOST_NAMES], after[:MOST_NAMES]]})


def _mark(event: str, session: Session, **about: Any) -> Mark:
    time = plain.instant(session.updated_at)
    return Mark(event, orjson.dumps({"event": event, "step": session.step, "time": time, **about}))


def _settings(session: Session) -> dict[str, Any]:
    """Return the effective settings by name."""
    settings = session.config.effective() | session.beside()
    return settings | {f"{NESTED}.{name}": value for name, value in settings.pop(NESTED).items()}


def _short(value: Any) -> Any:
    return value if len(orjson.dumps(value)) <= LONGEST else None
