"""A change of a session, and what every change makes of it: the head, the keys, the members of its state."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.compute import INLINE_BELOW
from app.digest import digest_of
from app.once import Done, Once
from app.session import Session
from app.session_document import write_document
from app.store.base import Head, Save
from app.store.block_sums import Blocks
from app.store.keys import UsedKey
from app.store.piece import Piece
from optim_engine import Config, State


@dataclass(frozen=True)
class Change:
    """A save, with the session that results from it, and its state if that changed; `blocks` as in `Loaded`."""

    save: Save
    session: Session
    state: State | None = None
    blocks: Blocks | None = None


def used_keys(old: Session, once: Once, done: Done) -> tuple[UsedKey, ...]:
    """Return the keys that a save records as used: those of a document of format 1, then the request's."""
    keys = [kept.used(key) for key, kept in old.old_keys.items() if key is not None]
    return (*keys, *([] if once.key is None else [done.used(once.key)]))


def head_of(session: Session, version: int, token: str, pieces: tuple[Piece, ...]) -> Head:
    """Return the head of the saved session. A long document is written at once, because this runs on a thread."""
    is_long = session.breadth >= INLINE_BELOW
    document = write_document(session) if is_long else partial(write_document, session)
    return Head(session.id, session.tenant, version, token, document, pieces, session.expires_at)


def members_of(config: Config, state: State, pieces: Sequence[Piece]) -> dict[str, Any]:
    """Return the members of a session that follow from its state."""
    digest = digest_of(config, state.t, state.layout, state.counts, pieces)
    return {"step": state.t, "layout": state.layout, "counts": state.counts, "digest": digest}
