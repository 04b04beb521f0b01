"""The session's own JSON: requests, answers, and how a change is merged.

The tables of settings (`optim_engine.config.SETTINGS`, `app.session.BESIDE`) say what a request may have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from app import advice, plain
from app.digest import write_config
from app.errors import InvalidSession
from app.session import BESIDE, Listed, Session
from optim_engine import OPTIMIZERS, Config, InvalidConfig
from optim_engine.config import SETTINGS
from optim_engine.fields import Checked, integer, named, optional, read_settings

CREATION = SETTINGS | BESIDE
HYPERPARAMETERS = frozenset(field.name for rule in OPTIMIZERS.values() for field in fields(rule.settings))
CHANGEABLE = {name: row for name, row in CREATION.items() if row.changeable}


@dataclass(frozen=True)
class Undo(Checked):
    """The request of an undo."""

    step: int = integer(at_least=1)


@dataclass(frozen=True)
class Joining(Checked):
    """The request of a worker that joins, or renews the lease of an epoch."""

    epoch: int | None = optional(integer(at_least=1))


FORKED = {name: BESIDE[name] for name in ("ttl_seconds", "labels")}
"""The settings that a fork may have of its own."""


def read_creation(document: Any) -> dict[str, Any]:
    """Return the `config` of a new session and its other settings. Raises `InvalidConfig` and `InvalidSession`."""
    _check_keys(document, CREATION)
    if "optimizer" not in document:
        raise InvalidConfig("optimizer", f"is required; expected one of {', '.join(OPTIMIZERS)}")
    config = Config.parse(**{name: document[name] for name in SETTINGS if name in document})
    beside = read_settings(BESIDE, {name: document[name] for name in BESIDE if name in document})
    _check_held(config, beside)
    return {"config": config, **beside}


def _check_held(config: Config, beside: Mapping[str, Any]) -> None:
    """Raise `InvalidConfig` if the session has to hold its parameters and does not.

    A session for workers has to; else a replay of a step might have to compute bits that depend on the machine.
    """
    if config.hold_params:
        return
    if beside["workers"] is not None:
        raise InvalidConfig("workers", "needs `hold_params` true: all workers go on from the session's parameters")
    for kind in config.kinds.values():
        if OPTIMIZERS[kind.optimizer].bits == "machine":
            words = f"{kind.optimizer} needs `hold_params: true`, because other machines compute other bits"
            raise InvalidConfig("hold_params", words)


def read_changes(document: Any) -> Callable[[Session], Session]:
    """Return what a PATCH does to a session: a merge (RFC 7396), in which `null` puts a default back.

    `hyperparameters` and `labels` are merged key by key, and so are a schedule unless its kind changes, and `workers`
    unless its mode changes; other settings are replaced.
    """
    _check_keys(document, CHANGEABLE)

    def change(session: Session) -> Session:
        old = write_config(session.config) | session.beside()
        new = {name: MERGES[name](old[name], value) if name in MERGES else value for name, value in document.items()}
        whole = {name: value for name, value in (old | new).items() if value is not None}
        beside = read_settings(BESIDE, {name: whole.pop(name) for name in BESIDE if name in whole})
        config = Config.parse(**whole)
        _check_held(config, beside)
        return replace(session, config=config, **beside)

    return change


def read_undo(document: Any) -> int:
    """Return the number of the step that is to be undone. Raises `InvalidConfig` and `InvalidSession`."""
    _check_keys(document, {"step": Undo}, "is no part of an undo")
    if "step" not in document:
        raise InvalidConfig("step", "is required: the session's own step, which is to be undone")
    return Undo(**document).step


def read_joining(document: Any) -> int | None:
    """Return the epoch whose lease is to be renewed; `None` to join. Raises `InvalidConfig` and `InvalidSession`."""
    _check_keys(document, {"epoch": Joining}, "is no part of joining")
    return Joining(**document).epoch


def read_fork(document: Any) -> dict[str, Any]:
    """Return the settings that a fork has instead of its source's. Raises `InvalidConfig` and `InvalidSession`."""
    _check_keys(document, FORKED, "is the source's: change it afterwards, or create a new session")
    return {name: value for name, value in read_settings(FORKED, document).items() if name in document}


def _merged(old: Any, new: Any) -> Any:
    """Return one object merged; anything else is left for its reader to refuse."""
    if not isinstance(new, Mapping):
        return new
    return {name: value for name, value in {**old, **new}.items() if value is not None}


def _merged_within(kind: str, old: Any, new: Any) -> Any:
    """Return one object merged into the old one, if that is of the same kind."""
    is_same = isinstance(new, Mapping) and old and new.get(kind, old[kind]) == old[kind]
    return _merged(old, new) if is_same else new


MERGES: Mapping[str, Callable[[Any, Any], Any]] = {
    "hyperparameters": _merged,
    "labels": _merged,
    "schedule": partial(_merged_within, "kind"),
    "workers": partial(_merged_within, "mode"),
}


def view(session: Session) -> dict[str, Any]:
    """Return the session as an answer has it, with every effective value."""
    config = session.config
    groups = config.groups_of(session.layout.entries, limited=False)
    tensors = {
        name: {
            "shape": entry.spec.shape,
            "dtype": entry.spec.dtype.name,
            "step": session.counts[name],
            "group": groups[name],
            "optimizer": config.optimizer_of(groups[name]),
        }
        for name, entry in session.layout.entries.items()
    }
    return _written(session, {"tensors": tensors}, advice.of_session(session))


def summary(listed: Listed) -> dict[str, Any]:
    """Return the session as a list has it: how many tensors there are, and how large its state is."""
    about = {"tensor_count": len(listed.tensors), "state_bytes": listed.state_bytes}
    return _written(listed.session, about, advice.of_listed(listed))


def _written(session: Session, tensors: Mapping[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    return {
        "id": session.id,
        **session.config.effective(),
        "step": session.step,
        "skipped_steps": session.skipped_steps,
        "rewinds": session.rewinds,
        "digest": session.digest,
        **tensors,
        "warnings": warnings,
        **session.beside(),
        "created_at": plain.instant(session.created_at),
        "updated_at": plain.instant(session.updated_at),
        "expires_at": plain.instant(session.expires_at),
    }


def _check_keys(
    document: Any, known: Mapping[str, object], elsewhere: str = "cannot be changed, so create a new session"
) -> None:
    if not isinstance(document, dict):
        raise InvalidSession(f"the body must be a JSON object, not {named(document)}")
    for key in document:
        if key not in known:
            raise InvalidConfig(key[:80], f"{_wrong(key, elsewhere)}; expected one of {', '.join(known)}")


def _wrong(key: str, elsewhere: str) -> str:
    """Return what is wrong with a member that is not expected, and where it belongs."""
    if key in CREATION:
        return elsewhere
    unknown = f"unknown setting {named(key)}"
    return f"{unknown}; `{key}` belongs in `hyperparameters`" if key in HYPERPARAMETERS else unknown
