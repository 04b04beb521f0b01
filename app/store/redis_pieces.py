"""Pieces in Redis: written to keys that nothing names yet, and removed again if nothing came to name them."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from app.store.piece import Part
from app.store.redis_client import Command
from app.store.redis_commands import Commands
from app.store.redis_names import piece_key
from app.store.redis_scripts import UNLINK
from app.store.sealed import LABEL_BYTES

BATCH = 16
"""The most pieces, or heads, in one pipeline: a connection holds them in memory."""
STAGED_MS = 3_600_000
"""The time that a save may take, and after which the pieces of an interrupted one expire."""

Item = TypeVar("Item")


def batched(items: Sequence[Item], size: int = BATCH) -> list[Sequence[Item]]:
    """Cut a sequence into those of `size` items."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def put(session_id: str, part: Part) -> Command:
    """Return the command that writes a piece. Sent twice it does no harm: no other piece has this name."""
    piece, data = part
    return ("SET", piece_key(session_id, piece.name), data, "NX", "PX", STAGED_MS)


async def unlink(client: Commands, held: Mapping[str, bytes | None], keys: Sequence[str]) -> bool:
    """Unlink the keys if heads or ledgers, by their keys, still are as `held`; return whether they were."""
    labels = [(data or b"")[:LABEL_BYTES] for data in held.values()]
    outcome = await client.run(UNLINK, [*held, *keys], labels)
    return bool(outcome == b"done")
