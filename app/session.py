"""The session, and its two written forms: the store's document and the digest.

Its settings are the rows of two tables: the fields of `Config`, and the fields of `Session` that are made by `setting`.
Knows no HTTP and no store's insides. The document is JSON with a format number; the state's bytes are not in it.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import ml_dtypes  # noqa: F401  # registers bfloat16 with NumPy
import numpy as np
import orjson

from app.compute import TENSOR_BYTES
from app.errors import InvalidSession, StateDamaged
from app.once import Done
from app.step import KeptAnswer
from app.store.base import Head, IncompatibleStore
from app.store.formats import expect_format
from app.store.piece import Piece
from optim_engine import Config, EngineError, Entry, InvalidConfig, Layout, Spec, State
from optim_engine.arrays import COMPUTE_DTYPES
from optim_engine.fields import custom, integer, named, setting, settings_of

DTYPES: Mapping[str, np.dtype[Any]] = {name: np.dtype(name) for name in COMPUTE_DTYPES}
"""Every dtype that a tensor may have, by its name."""

DOCUMENT_FORMAT = 3
"""The format number of the document of a session that can undo steps, which a version without undo would forget."""
PLAIN_DOCUMENT_FORMAT = 2
"""The format number of all other documents."""
PATTERN_BYTES = 32
"""The work for a character of a group's pattern, in the same measure as `TENSOR_BYTES`."""
LONGEST_TTL = 10 * 365 * 86400
MOST_LABELS = 64
MOST_UNDO = 16
LONGEST_LABEL = 256


def _read_ttl(where: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LONGEST_TTL:
        return value
    words = f"must be a number of seconds above 0 and at most {LONGEST_TTL}, or null, not {named(value)}"
    raise InvalidConfig(where, words)


def _read_labels(where: str, labels: Any) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise InvalidConfig(where, f"must be an object of up to {MOST_LABELS} strings, not {named(labels)}")
    if len(labels) > MOST_LABELS:
        raise InvalidConfig(where, f"{len(labels)} labels; the limit is {MOST_LABELS}")
    for name, value in labels.items():
        _check_label(f"{where}.{name:.80}", name, value)
    return dict(labels)


def _check_label(where: str, name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InvalidConfig(where, f"must be a string of up to {LONGEST_LABEL} characters, not {named(value)}")
    for what, text in (("the name", name), ("the string", value)):
        if len(text) > LONGEST_LABEL:
            raise InvalidConfig(where, f"{what} has {len(text)} characters; the limit is {LONGEST_LABEL}")


@dataclass(frozen=True)
class Session:
    """One training run's optimizer without the bytes of its state. An immutable value: a change makes a new one."""

    id: str
    tenant: str
    config: Config
    created_at: float
    updated_at: float
    undo: int = setting("The number of steps that can be undone.", integer(0, at_least=0, at_most=MOST_UNDO))
    ttl_seconds: float | None = setting(
        "Seconds after its last change until the session expires.",
        custom(None, _read_ttl, {"type": ["number", "null"], "exclusiveMinimum": 0}),
        changeable=True,
    )
    labels: Mapping[str, str] = setting(
        f"Up to {MOST_LABELS} strings of up to {LONGEST_LABEL} characters, for your own use.",
        custom(dict, _read_labels, {}),
        changeable=True,
    )
    step: int = 0
    skipped_steps: int = 0
    rewinds: int = 0
    """The number of undone steps."""
    layout: Layout = field(default_factory=lambda: Layout({}))
    counts: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    applied: KeptAnswer | None = None
    """The last applied step; `None` once something else has replaced what it led to."""
    skipped: KeptAnswer | None = None
    """The last skipped step, until a later one is applied."""
    old_keys: Mapping[str | None, Done] = field(default_factory=dict)
    """The keys of a document of format 1, until the session's next save gives them to the store."""
    answered: Mapping[str, int] = field(default_factory=dict)
    """The checksum of the last answered parameter, by tensor (`last_params`)."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """The last warning of a step or a change, by kind (`advice`)."""

    @property
    def expires_at(self) -> float | None:
        return None if self.ttl_seconds is None else self.updated_at + self.ttl_seconds

    @property
    def breadth(self) -> int:
        """Return the work to go through its tensors and patterns, as `Compute.run` counts it."""
        return TENSOR_BYTES * len(self.counts) + PATTERN_BYTES * self.config.pattern_length

    def beside(self) -> dict[str, Any]:
        """Return the settings that are not in `config`."""
        return {name: getattr(self, name) for name in BESIDE}

    def check_holds(self) -> None:
        """Raise `InvalidSession` unless the session holds parameters."""
        if not self.config.hold_params:
            words = "the session holds no parameters; create it with `hold_params` true"
            raise InvalidSession(words, where="hold_params")

    def after(self, **fields: Any) -> "Session":
        """Return the session with these fields, as `dataclasses.replace` does, which takes ten times as long."""
        session = object.__new__(Session)
        session.__dict__.update(self.__dict__, **fields)
        return session

    def with_answer(self, answer: KeptAnswer, *, skipped: bool) -> "Session":
        """Return the session with a step request answered."""
        if skipped:
            return self.after(skipped=answer)
        return self.after(applied=answer, skipped=None)

    def with_digest(self, pieces: Sequence[Piece]) -> "Session":
        return self.after(digest=digest_of(self.config, self.step, self.layout, self.counts, pieces))


BESIDE = settings_of(Session)
"""The table of the settings that steps do not depend on."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session and its state, as one head of the store names them."""

    head: Head
    session: Session
    state: State


@dataclass(frozen=True, slots=True)
class Listed:
    """A session as a list has it: with its tensors' names, but without its layout and counts, which may be large."""

    session: Session
    tensors: Sequence[str]
    state_bytes: int


def digest_of(config: Config, step: int, layout: Layout, counts: Mapping[str, int], pieces: Sequence[Piece]) -> str:
    """Return the name of a whole state: settings, counts, and the bytes by their checksums. 32 hexadecimal digits."""
    whole = {
        "pieces": [piece.checksum for piece in pieces],
        "settings": _written(config).settings,
        "step": step,
        "tensors": _written_tensors(layout, counts),
    }
    return blake2b(orjson.dumps(whole), digest_size=16).hexdigest()


def write_document(session: Session) -> bytes:
    """Return the session as the store keeps it."""
    beside = session.beside()
    undo = {"undo": beside.pop("undo"), "rewinds": session.rewinds}
    document = {
        "format": DOCUMENT_FORMAT if session.undo else PLAIN_DOCUMENT_FORMAT,
        "config": _written(session.config).config,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        **beside,
        **(undo if session.undo else {}),
        "step": session.step,
        "skipped_steps": session.skipped_steps,
        "tensors": _written_tensors(session.layout, session.counts),
        "digest": session.digest,
        "applied": session.applied,
        "skipped": session.skipped,
        "answered": _written_last(session),
        "notes": session.notes,
    }
    return orjson.dumps(document)


def read_document(head: Head) -> Session:
    """Return the session of a head. Unknown members are ignored, as a later version may add some.

    Raises `StateDamaged` if it cannot be read, and `IncompatibleStore` if a newer version wrote it: its format is
    higher, or it has settings that are unknown here.
    """
    with _reading(head) as document:
        return _read_session(head, document, *_read_tensors(document["tensors"]))


def read_listed(head: Head) -> Listed:
    """Return the session of a head as a list has it."""
    with _reading(head) as document:
        session = _read_session(head, document, Layout({}), {})
        return Listed(session, [row[0] for row in document["tensors"]], head.state_bytes)


@contextmanager
def _reading(head: Head) -> Iterator[Any]:
    try:
        document = orjson.loads(head.document)
        expect_format(f"the document of session {head.session_id}", document["format"], DOCUMENT_FORMAT)
        yield document
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise StateDamaged(f"session {head.session_id}: its document cannot be read: {error!r}") from error


def _read_session(head: Head, document: Any, layout: Layout, counts: Mapping[str, int]) -> Session:
    return Session(
        id=head.session_id,
        tenant=head.tenant,
        config=_read_config(head, document["config"]),
        created_at=document["created_at"],
        updated_at=document["updated_at"],
        **{name: document.get(name, row.default) for name, row in BESIDE.items()},
        step=document["step"],
        skipped_steps=document["skipped_steps"],
        rewinds=document.get("rewinds", 0),
        layout=layout,
        counts=counts,
        digest=document["digest"],
        applied=_read_kept(document["applied"]),
        skipped=_read_kept(document["skipped"]),
        old_keys=_read_old_keys(document.get("keys", ())),
        answered=_read_last(layout, *document.get("answered", ("", {}))),
        notes=document.get("notes", {}),
    )


def _read_config(head: Head, settings: Mapping[str, Any]) -> Config:
    try:
        return Config.parse(**settings)
    except (TypeError, EngineError) as error:
        raise IncompatibleStore(
            f"session {head.session_id} has settings that this version cannot read ({error}); run the version that "
            "wrote it"
        ) from error


_KEPT = frozenset(field.name for field in fields(KeptAnswer))


def _read_kept(document: Mapping[str, Any] | None) -> KeptAnswer | None:
    if document is None:
        return None
    return KeptAnswer(**{name: value for name, value in document.items() if name in _KEPT})


def _read_old_keys(rows: Sequence[Sequence[Any]]) -> dict[str | None, Done]:
    """Return the keys of a document of format 1: rows of key, step, digest of the body, and if it was skipped."""
    return {row[0]: Done(row[2], row[1], row[3]) for row in rows}


def write_config(config: Config) -> dict[str, Any]:
    """Return what `Config.parse` makes the same configuration of; default groups stay the default."""
    return config.to_dict() | ({"groups": None} if config.given_groups is None else {})


# Most steps change only the counts, so the settings and the rest of a tensor's row are written once and kept.


class WrittenConfig(NamedTuple):
    """The settings, written for a document and for a digest."""

    config: orjson.Fragment
    settings: orjson.Fragment


_CONFIGS: WeakKeyDictionary[Config, WrittenConfig] = WeakKeyDictionary()


def _written(config: Config) -> WrittenConfig:
    written = _CONFIGS.get(config)
    if written is None:
        settings = orjson.dumps(config.to_dict(), option=orjson.OPT_SORT_KEYS)
        document = orjson.dumps(write_config(config))
        written = _CONFIGS[config] = WrittenConfig(orjson.Fragment(document), orjson.Fragment(settings))
    return written


_ROWS: WeakKeyDictionary[Layout, list[tuple[str, bytes]]] = WeakKeyDictionary()


def _written_tensors(layout: Layout, counts: Mapping[str, int]) -> orjson.Fragment:
    """Return rows of name, shape, dtype, slots and count."""
    rows = _ROWS.get(layout)
    if rows is None:
        rows = _ROWS[layout] = [
            (name, orjson.dumps([name, entry.spec.shape, entry.spec.dtype.name, entry.slots])[:-1])
            for name, entry in layout.entries.items()
        ]
    return orjson.Fragment(b"[%s]" % b",".join([b"%s,%d]" % (row, counts[name]) for name, row in rows]))


def _written_last(session: Session) -> tuple[str, Mapping[str, int]]:
    """Return 8 digits for each tensor of the layout, in its order, and the checksums of others by name."""
    answered, entries = session.answered, session.layout.entries
    if not answered:
        return "", {}
    known = np.frombuffer(array("Q", [answered.get(name, 0) for name in entries]), np.uint64).astype("<u4")
    besides = {name: checksum & 0xFFFFFFFF for name, checksum in answered.items() if name not in entries}
    return known.tobytes().hex() if known.any() else "", besides


def _read_last(layout: Layout, known: str, besides: Mapping[str, int]) -> dict[str, int]:
    values = np.frombuffer(bytes.fromhex(known), "<u4").tolist()
    return {name: value for name, value in zip(layout.entries, values, strict=False) if value} | dict(besides)


def _read_tensors(rows: Sequence[Sequence[Any]]) -> tuple[Layout, dict[str, int]]:
    known = (row[:4] for row in rows)
    entries = {name: Entry(Spec(tuple(shape), DTYPES[dtype]), tuple(slots)) for name, shape, dtype, slots in known}
    return Layout(entries), {row[0]: row[4] for row in rows}
