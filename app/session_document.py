"""The store's document of a session: JSON with a format number. The state's bytes are not in it.

Knows no HTTP and no store's insides.
"""

from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from app.digest import written_config, written_tensors
from app.errors import StateDamaged
from app.once import Done
from app.session import BESIDE, DTYPES, Listed, Session
from app.step import KeptAnswer
from app.store.base import Head, IncompatibleStore
from app.store.formats import expect_format
from app.worker_settings import WorkerSettings, read_workers
from optim_engine import Config, EngineError, Entry, Layout, Spec

DOCUMENT_FORMAT = 4
"""The format number of the document of a session for workers, whose state a version without them would step."""
UNDO_DOCUMENT_FORMAT = 3
"""The format number of the document of a session that can undo steps, which a version without undo would forget."""
PLAIN_DOCUMENT_FORMAT = 2
"""The format number of all other documents."""
LONGEST_KEPT = 1 << 10
"""The longest settings, as JSON, that stay parsed for lists."""
MOST_KEPT = 1 << 10
"""The most settings that stay parsed."""
NO_TENSORS = Layout({})


def write_document(session: Session) -> bytes:
    """Return the session as the store keeps it."""
    beside = session.beside()
    undo = {"undo": beside.pop("undo"), "rewinds": session.rewinds}
    workers = {"workers": beside.pop("workers")}
    document = {
        "format": _format_of(session),
        "config": written_config(session.config).config,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        **beside,
        **(undo if session.undo else {}),
        **(workers if session.workers else {}),
        "step": session.step,
        "skipped_steps": session.skipped_steps,
        "tensors": written_tensors(session.layout, session.counts),
        "digest": session.digest,
        "applied": session.applied,
        "skipped": session.skipped,
        "answered": _written_last(session),
        "notes": session.notes,
        **({"updates": b64encode(session.updates).decode()} if session.updates else {}),
    }
    return orjson.dumps(document)


def _format_of(session: Session) -> int:
    if session.workers:
        return DOCUMENT_FORMAT
    return UNDO_DOCUMENT_FORMAT if session.undo else PLAIN_DOCUMENT_FORMAT


def read_document(head: Head) -> Session:
    """Return the session of a head. Unknown members are ignored, as a later version may add some.

    Raises `StateDamaged` if it cannot be read, and `IncompatibleStore` if a newer version wrote it: its format is
    higher, or it has settings that are unknown here.
    """
    with _reading(head) as document:
        config = _read_config(head, document["config"])
        return _read_session(head, document, config, *_read_tensors(document["tensors"]))


def read_listed(head: Head) -> Listed:
    """Return the session of a head as a list has it."""
    with _reading(head) as document:
        session = _read_session(head, document, _listed_config(head, document["config"]), NO_TENSORS, {})
        return Listed(session, [row[0] for row in document["tensors"]], head.state_bytes)


@contextmanager
def _reading(head: Head) -> Iterator[Any]:
    try:
        document = orjson.loads(head.document)
        expect_format(f"the document of session {head.session_id}", document["format"], DOCUMENT_FORMAT)
        yield document
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise StateDamaged(f"session {head.session_id}: its document cannot be read: {error!r}") from error


def _read_session(head: Head, document: Any, config: Config, layout: Layout, counts: Mapping[str, int]) -> Session:
    return Session(
        id=head.session_id,
        tenant=head.tenant,
        config=config,
        created_at=document["created_at"],
        updated_at=document["updated_at"],
        **{name: document.get(name, row.default) for name, row in BESIDE.items()}
        | {"workers": _read_workers(head, document.get("workers"))},
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
        updates=b64decode(document.get("updates", "")),
        notes=document.get("notes", {}),
    )


def _read_config(head: Head, settings: Mapping[str, Any]) -> Config:
    with _known_settings(head):
        return Config.parse(**settings)


def _listed_config(head: Head, settings: Mapping[str, Any]) -> Config:
    """Return the same for a list, which has many sessions with the same settings: these are parsed once.

    Those with groups are not: they remember the names of the tensors that they matched.
    """
    with _known_settings(head):
        text = orjson.dumps({**settings})
        is_kept = settings.get("groups") is None and len(text) <= LONGEST_KEPT
        return _parsed(text) if is_kept else Config.parse(**settings)


@lru_cache(MOST_KEPT)
def _parsed(settings: bytes) -> Config:
    return Config.parse(**orjson.loads(settings))


def _read_workers(head: Head, settings: Mapping[str, Any] | None) -> WorkerSettings | None:
    with _known_settings(head):
        return read_workers("workers", settings)


@contextmanager
def _known_settings(head: Head) -> Iterator[None]:
    try:
        yield
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
