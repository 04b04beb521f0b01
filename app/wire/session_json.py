"""The session's own JSON: what may be asked for, what is answered, and how settings are merged.

What the settings may be is decided by the engine (`optim_engine.config`); here is what stands around them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from app import advice, plain
from app.errors import InvalidSession
from app.session import Listed, Session, write_config
from optim_engine import Config
from optim_engine.fields import named

SETTINGS = (
    "optimizer", "hyperparameters", "groups", "schedule", "clip", "on_non_finite", "hold_params", "wire_dtype",
    "on_other_params",
)  # fmt: skip
CHANGEABLE = ("hyperparameters", "groups", "schedule", "clip", "on_other_params", "ttl_seconds", "labels")
CREATION = (*SETTINGS, "ttl_seconds", "labels")
MAX_LABELS = 64
MAX_LABEL_LENGTH = 256
LONGEST_TTL = 10 * 365 * 86400


def read_creation(document: Any) -> dict[str, Any]:
    """`config`, `ttl_seconds` and `labels` of a new session. Raises `InvalidConfig` and `InvalidSession`."""
    _check_keys(document, CREATION)
    if "optimizer" not in document:
        raise InvalidSession("optimizer: is needed")
    config = Config.parse(**{key: document[key] for key in SETTINGS if key in document})
    if config.rule.bits == "machine" and not config.hold_params:
        raise InvalidSession(
            f"hold_params: {config.optimizer} needs it true: another machine could not make an answer again to the bit"
        )
    return {
        "config": config,
        "ttl_seconds": _read_ttl(document.get("ttl_seconds")),
        "labels": _read_labels({} if document.get("labels") is None else document["labels"]),
    }


def read_changes(document: Any) -> Callable[[Session], Session]:
    """What a PATCH makes of a session: a merge (RFC 7396), in which `null` puts a default back.

    `hyperparameters` and `labels` are merged key by key, a schedule too unless it names another kind; groups and clip
    are replaced whole.
    """
    _check_keys(document, CHANGEABLE)

    def change(session: Session) -> Session:
        settings = write_config(session.config)
        for key in ("groups", "clip"):
            if key in document:
                settings[key] = document[key]
        if "on_other_params" in document:
            given = document["on_other_params"]
            settings["on_other_params"] = Config.on_other_params if given is None else given
        if "hyperparameters" in document:
            settings["hyperparameters"] = _merged("hyperparameters", settings, document)
        if "schedule" in document:
            new, old = document["schedule"], settings["schedule"]
            same_kind = isinstance(new, Mapping) and old and new.get("kind", old["kind"]) == old["kind"]
            settings["schedule"] = _merged("schedule", settings, document) if same_kind else new
        labels = session.labels
        if "labels" in document:
            labels = _read_labels(_merged("labels", {"labels": labels}, document))
        ttl = _read_ttl(document["ttl_seconds"]) if "ttl_seconds" in document else session.ttl_seconds
        return replace(session, config=Config.parse(**settings), ttl_seconds=ttl, labels=labels)

    return change


def view(session: Session) -> dict[str, Any]:
    """The session as it is answered, with every effective value."""
    config = session.config
    groups = config.groups_of(session.layout.entries, limited=False)
    tensors = {
        name: {
            "shape": entry.spec.shape,
            "dtype": entry.spec.dtype.name,
            "step": session.counts[name],
            "group": groups[name],
        }
        for name, entry in session.layout.entries.items()
    }
    return _written(session, {"tensors": tensors}, advice.of_session(session))


def summary(listed: Listed) -> dict[str, Any]:
    """Return the session as a list has it: how many tensors there are, and how large its state is."""
    about = {"tensor_count": len(listed.tensors), "state_bytes": listed.state_bytes}
    return _written(listed.session, about, advice.of_listed(listed))


def _written(session: Session, tensors: Mapping[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    config = session.config
    return {
        "id": session.id,
        **config.to_dict(),
        "wire_dtype": config.wire_dtype,
        "on_other_params": config.on_other_params,
        "step": session.step,
        "skipped_steps": session.skipped_steps,
        "digest": session.digest,
        **tensors,
        "warnings": warnings,
        "ttl_seconds": session.ttl_seconds,
        "labels": session.labels,
        "created_at": plain.instant(session.created_at),
        "updated_at": plain.instant(session.updated_at),
        "expires_at": plain.instant(session.expires_at),
    }


def _check_keys(document: Any, known: tuple[str, ...]) -> None:
    if not isinstance(document, dict):
        raise InvalidSession("the body must be a JSON object")
    for key in document:
        if key not in known:
            fixed = "cannot be changed" if key in SETTINGS else "is unknown"
            raise InvalidSession(f"{key!r:.80} {fixed}; there is {', '.join(known)}")


def _merged(key: str, old: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """One object merged; anything else is left to be refused by who reads it."""
    new = document[key]
    if new is None:
        return {}
    if not isinstance(new, Mapping):
        return new
    merged = {**old[key], **new}
    return {name: value for name, value in merged.items() if value is not None}


def _read_ttl(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LONGEST_TTL:
        return value
    raise InvalidSession(f"ttl_seconds: {named(value)} must be above 0 and at most {LONGEST_TTL}, or null")


def _read_labels(labels: Any) -> dict[str, str]:
    if not isinstance(labels, Mapping) or len(labels) > MAX_LABELS:
        raise InvalidSession(f"labels: must be an object of up to {MAX_LABELS} strings")
    for name, value in labels.items():
        if not isinstance(value, str) or max(len(name), len(value)) > MAX_LABEL_LENGTH:
            raise InvalidSession(f"labels.{name:.80}: must be a string of up to {MAX_LABEL_LENGTH} characters")
    return dict(labels)
