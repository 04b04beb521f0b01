"""Saves as the service makes them: an unchanged part of the state keeps its piece."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.store.base import Head, Save, Store, new_token
from app.store.generation import Generation, Undone
from app.store.history import HistoryRow, Mark
from app.store.keys import UsedKey, key_digest
from app.store.piece import Piece, checksum_of

DAY = 86_400.0


def change_of(
    previous: Head | None,
    parts: Sequence[bytes] = (b"one", b"two"),
    *,
    session_id: str = "session-1",
    tenant: str = "tenant-1",
    document: bytes = b"{}",
    expires_at: float | None = None,
    row: HistoryRow | None = None,
    forget_after: int | None = None,
    used: Sequence[UsedKey] = (),
    claimed: bool = False,
    undo: int = 0,
    mark: Mark | None = None,
) -> Save:
    """Return a save; with `undo`, of a step that keeps so many earlier generations."""
    token = new_token()
    version = previous.version + 1 if previous else 1
    pieces: list[Piece] = []
    for i, part in enumerate(parts):
        old = previous.pieces[i] if previous and i < len(previous.pieces) else None
        piece = Piece(f"{version}-{token}-{i}", len(part), checksum_of(part))
        if old and (old.size, old.checksum) == (piece.size, piece.checksum):
            pieces.append(old)
        else:
            pieces.append(piece)
    if previous:
        session_id, tenant = previous.session_id, previous.tenant
    head = Head(session_id, tenant, version, token, document, tuple(pieces), expires_at)
    state = memoryview(b"".join(parts))
    save = Save(head, previous, state, row, forget_after, used=tuple(used), claimed=claimed, mark=mark)
    return kept(save, undo) if undo and previous else save


def kept(save: Save, undo: int) -> Save:
    """Return the save of a step, whose head keeps so many earlier generations."""
    head, previous = save.head, save.previous
    assert previous
    data = b"before %d" % head.version
    document = Piece(f"{head.version}-{head.token}-before", len(data), checksum_of(data))
    earlier = (Generation(head.version, document, previous.pieces), *previous.earlier)[:undo]
    return replace(save, head=replace(head, earlier=earlier), beside=((document, memoryview(data)),))


def undoing(previous: Head, state: bytes, undone: Undone, **others: Any) -> Save:
    """Return the save that goes back to the newest generation, of that state."""
    head = replace(previous, version=previous.version + 1, token=new_token(), document=b"{}")
    head = replace(head, pieces=previous.earlier[0].pieces, earlier=previous.earlier[1:], leftovers=())
    return Save(head, previous, memoryview(state), undone=undone, **others)


async def saved(store: Store, previous: Head | None = None, *args: Any, **kwargs: Any) -> Head:
    """Make a change and save it; return its head."""
    change = change_of(previous, *args, **kwargs)
    await store.save(change)
    return change.head


async def state_of(store: Store, head: Head) -> bytes:
    state = bytearray(head.state_bytes)
    await store.read(head, memoryview(state))
    return bytes(state)


def row(step: int, body: str = "") -> HistoryRow:
    return HistoryRow(step, (body or f"row {step}").encode())


def mark(body: str, kind: str = "settings") -> Mark:
    return Mark(kind, body.encode())


def used(key: str, row: str = "") -> UsedKey:
    return UsedKey(key_digest(key), (row or f"row of {key}").encode())
