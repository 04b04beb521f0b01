"""The pieces of a state, cut while the engine still fills its memory.

A piece leaves for the store when its last byte is final. The thread that wrote that byte makes the checksum, while the
piece is in the processor's cache. Knows no store's insides, and no session.
"""

import threading

from app.store.base import Head, Saving, new_token
from app.store.piece import PIECE_BYTES, Piece, checksum_of, cut
from optim_engine.arrays import Array


class Pieces:
    """The pieces that follow those of `previous`.

    A piece whose bytes have not changed stays; the others go to `saving`, if there is one. With `keep` false all are
    written, which mends damaged pieces.
    """

    def __init__(self, previous: Head, saving: Saving | None = None, *, keep: bool = True) -> None:
        self.version = previous.version + 1
        self.token = saving.token if saving else new_token()
        self._saving = saving
        self._old = previous.pieces if keep else ()
        self._lock = threading.Lock()
        self._missing: dict[int, int] = {}
        self._found: dict[int, Piece] = {}

    def filled(self, memory: Array, start: int, end: int) -> None:
        """Note that these bytes have their final values; the engine calls it from any thread."""
        for i in range(start // PIECE_BYTES, -(-end // PIECE_BYTES)):
            first, last = i * PIECE_BYTES, min((i + 1) * PIECE_BYTES, len(memory))
            with self._lock:
                missing = self._missing.get(i, last - first) - (min(end, last) - max(start, first))
                self._missing[i] = missing
            if not missing:
                self._add(i, memory.data[first:last])

    def of(self, memory: Array) -> tuple[Piece, ...]:
        """Return all pieces of the state; those that were not filled before are cut now."""
        parts = cut(memory.data)
        for i, data in enumerate(parts):
            if i not in self._found:
                self._add(i, data)
        return tuple(self._found[i] for i in range(len(parts)))

    def _add(self, i: int, data: memoryview) -> None:
        piece = Piece(f"{self.version}-{self.token}-{i}", len(data), checksum_of(data))
        old = self._old[i] if i < len(self._old) else None
        if old is not None and (old.size, old.checksum) == (piece.size, piece.checksum):
            self._found[i] = old
        else:
            self._found[i] = piece
            if self._saving:
                self._saving.write((piece, data))
