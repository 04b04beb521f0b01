"""Arguments of the script that saves, made of a change."""

import math
import time

from app.store.base import Save
from app.store.envelope import encode
from app.store.keys import KeyMemory
from app.store.redis_client import Command
from app.store.redis_names import created_key, head_key, history_key, keys_key, piece_keys


def saved_keys(change: Save) -> list[str]:
    """Return the names of the keys that the script touches."""
    session_id = change.head.session_id
    own = (head_key, history_key, keys_key, created_key)
    return [*(make(session_id) for make in own), *piece_keys(session_id, (*change.head.pieces, *change.obsolete))]


def saved_values(change: Save, history_limit: int, memory: KeyMemory) -> Command:
    """Return the script's other arguments, in its order."""
    head, row = change.head, change.row
    return (
        head.token,
        *(change.previous.stamp if change.previous else ("", "")),
        encode(head),
        len(head.pieces),
        _lifetime(change),
        "" if change.forget_after is None else change.forget_after,
        "" if row is None else row.step,
        "" if row is None else b"%016d%016d" % (row.step, head.version) + row.body,
        history_limit,
        math.ceil(memory.seconds * 1000) if change.claimed else "",
        *_key_values(change, memory),
    )


def _key_values(change: Save, memory: KeyMemory) -> Command:
    now = time.time()
    keys = (value for used in change.used for value in used)
    return (f"{now:.3f}", f"{now - memory.seconds:.3f}", memory.count, memory.most, *keys)


def _lifetime(change: Save) -> str | int:
    """Return how long Redis is to keep the session. Relative, because Redis's clock may differ from ours."""
    expires_at, previous = change.head.expires_at, change.previous
    if expires_at is not None:
        return math.ceil((expires_at - time.time()) * 1000)
    return "-" if previous is not None and previous.expires_at is None else ""
