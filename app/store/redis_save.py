"""The arguments of the script that saves."""

import math
import time
from dataclasses import replace

from app.store.base import Save
from app.store.envelope import encode
from app.store.generation import ReplacedRow, Undone
from app.store.keys import KeyMemory
from app.store.piece import Piece
from app.store.redis_client import Command
from app.store.redis_leftovers import LEFT_MS, left
from app.store.redis_names import created_key, head_key, history_key, keys_key, marks_key, piece_keys, thinned_key


def saved_keys(save: Save) -> list[str]:
    """Return the names of the keys that the script touches."""
    session_id = save.head.session_id
    own = (head_key, history_key, keys_key, created_key, marks_key, thinned_key)
    return [*(make(session_id) for make in own), *piece_keys(session_id, (*kept_pieces(save), *save.obsolete))]


def kept_pieces(save: Save) -> tuple[Piece, ...]:
    """Return the pieces that the new head keeps: the needed ones first, then those of earlier generations alone.

    A step goes on if one of the latter is lost, as in other stores: only an undo needs it.
    """
    if not save.head.earlier:
        return save.head.pieces
    needed = dict.fromkeys(_needed(save))
    return (*needed, *(piece for piece in save.head.kept if piece not in needed))


def _needed(save: Save) -> tuple[Piece, ...]:
    """Return the pieces without which the save would lose a state, or is not whole."""
    return (*save.head.pieces, *(piece for piece, _ in save.beside))


def saved_values(save: Save, history_limit: int, memory: KeyMemory) -> Command:
    """Return the script's other arguments, in its order."""
    head, row, leftovers, lifetime = save.head, save.row, left(save), _lifetime(save)
    return (
        head.token,
        *(save.previous.stamp if save.previous else ("", "")),
        encode(head if head.leftovers == leftovers else replace(head, leftovers=leftovers)),
        len(head.kept),
        lifetime,
        "" if save.forget_after is None else save.forget_after,
        "" if row is None else row.step,
        "" if row is None else row_member(row.step, head.version, row.body),
        history_limit,
        math.ceil(memory.seconds * 1000) if save.claimed else "",
        *_key_values(save, memory, _left_ms(lifetime) if leftovers else ""),
    )


def _left_ms(lifetime: str | int) -> int:
    """Return the milliseconds to leave the replaced pieces, which vanish with their session at the latest."""
    return min(LEFT_MS, lifetime) if isinstance(lifetime, int) else LEFT_MS


def _key_values(save: Save, memory: KeyMemory, left_ms: str | int) -> Command:
    now = time.time()
    keys = (value for used in save.used for value in used)
    limits = (f"{now:.3f}", f"{now - memory.seconds:.3f}", memory.count, memory.most, left_ms)
    return (*limits, *_undone_values(save.undone), len(_needed(save)), *_mark_values(save), *keys)


def _mark_values(save: Save) -> Command:
    if save.mark is None:
        return ("", "")
    version, (kind, body) = save.head.version, save.mark
    return (version, b"%016d%s %s" % (version, kind.encode(), body))


def _undone_values(undone: Undone | None) -> Command:
    if undone is None:
        return ("", "", "", "", "")
    return (*replaced_values(undone.row), *(undone.key or ("", "")))


def replaced_values(row: ReplacedRow) -> Command:
    """Return the step of a row to replace, the place of its member and its new member."""
    return (row.step, row_member(row.step, row.version), row_member(row.step, row.version, row.body))


def row_member(step: int, version: int, body: bytes = b"") -> bytes:
    """Return the member of a row in the sorted set of the history: its place, 32 digits, and its body."""
    return b"%016d%016d" % (step, version) + body


def _lifetime(save: Save) -> str | int:
    """Return the milliseconds to keep the session. Relative, because Redis's clock may differ from ours."""
    expires_at, previous = save.head.expires_at, save.previous
    if expires_at is not None:
        return math.ceil((expires_at - time.time()) * 1000)
    return "-" if previous is not None and previous.expires_at is None else ""
