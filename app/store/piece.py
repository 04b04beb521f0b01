"""The pieces of a state: its bytes, cut every MiB, each known by a name, a size and a checksum."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import xxhash

from app.errors import StateDamaged
from app.store.block_sums import BLOCK_BYTES, PIECE_BLOCKS, is_sum, sum_of

PIECE_BYTES = PIECE_BLOCKS * BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a session's state, by reference. `name` is unique for ever: a new piece never replaces another."""

    name: str
    size: int
    checksum: str

    def verify(self, session_id: str, data: memoryview | bytes | None) -> None:
        """Raise `StateDamaged` unless `data` are the bytes that were written under this name."""
        if data is None:
            found = "nothing"
        elif len(data) != self.size:
            found = f"{len(data)} bytes"
        elif (checksum := (sum_of if is_sum(self.checksum) else checksum_of)(data)) != self.checksum:
            found = f"{len(data)} bytes with checksum {checksum}"
        else:
            return
        raise StateDamaged(
            f"session {session_id}: piece {self.name} should be {self.size} bytes with checksum {self.checksum}, "
            f"the store holds {found}; restore the store from a backup or upload a saved state",
            piece=self.name,
        )


Part: TypeAlias = tuple[Piece, memoryview]
"""A piece and its bytes."""


def have_sums(pieces: Sequence[Piece]) -> bool:
    """Return whether the checksums of a state's pieces are sums (`block_sums`): those of all are, or those of none."""
    return bool(pieces) and is_sum(pieces[0].checksum)


def checksum_of(data: memoryview | bytes) -> str:
    """Return the checksum: XXH3 with 128 bits, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def new_checksum() -> Any:
    """Return a hash that can be updated; its hexadecimal digest is `checksum_of` the bytes."""
    return xxhash.xxh3_128()


def cut(data: memoryview) -> list[memoryview]:
    """Cut a state's bytes into pieces of `PIECE_BYTES`; the last may be shorter."""
    return [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
