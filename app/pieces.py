"""The pieces of a state, cut while the engine still fills its memory.

A piece leaves for the store when its last byte is final. The thread that wrote that byte makes the checksum, while the
piece is in the processor's cache. Knows no store's insides, and no session.
"""

import threading
from collections.abc import Iterable

from app.store.base import Head, Saving, new_token
from app.store.block_sums import Blocks, Changing, blocks_of
from app.store.piece import PIECE_BYTES, Piece, checksum_of, have_sums
from optim_engine.arrays import Array


class Pieces:
    """The pieces that follow those of `previous`.

    A piece whose bytes have not changed stays; the others go to `saving`, if there is one. With `keep` false all are
    written, which mends damaged pieces. With `summed`, their checksums are sums (`block_sums`); `blocks` has the
    checksums of the previous state's blocks, and has those of the next one's afterwards.
    """

    def __init__(
        self,
        previous: Head,
        saving: Saving | None = None,
        *,
        keep: bool = True,
        summed: bool = False,
        blocks: Blocks | None = None,
    ) -> None:
        self.version = previous.version + 1
        self.token = saving.token if saving else new_token()
        self._saving = saving
        self._old = previous.pieces if keep else ()
        self._summed = summed
        self.blocks = blocks
        self._lock = threading.Lock()
        self._missing: dict[int, int] = {}
        self._found: dict[int, Piece] = {}
        self._changing: Changing | None = None

    @property
    def listens(self) -> bool:
        """Return whether it gains by hearing which bytes are filled and touched."""
        return self._summed or self._saving is not None

    def touching(self, memory: Array, ranges: Iterable[tuple[Array, int]]) -> None:
        """Note that of the state's bytes only those ranges will change (their starts and length), and those that are
        `filled`. `memory` has them as they were.

        Where the old checksums are sums, `finish` then reads no others.
        """
        if self._summed and have_sums(self._old):
            self._changing = Changing(memory.data, blocks_of(ranges), self._blocks_of(memory))

    def filled(self, memory: Array, start: int, end: int) -> None:
        """Note that these bytes have their final values; the engine calls it from any thread."""
        for i in range(start // PIECE_BYTES, -(-end // PIECE_BYTES)):
            first, last = i * PIECE_BYTES, min((i + 1) * PIECE_BYTES, len(memory))
            with self._lock:
                missing = self._missing.get(i, last - first) - (min(end, last) - max(start, first))
                self._missing[i] = missing
            if not missing:
                self._add(i, memory)

    def finish(self, memory: Array) -> tuple[Piece, ...]:
        """Return all pieces of the state; those that were not filled before are cut now."""
        if self._changing is not None:
            return self._changed(self._changing, memory)
        for i in range(-(-len(memory) // PIECE_BYTES)):
            self._cut(i, memory)
        return tuple([self._found[i] for i in range(len(self._found))])

    def _changed(self, changing: Changing, memory: Array) -> tuple[Piece, ...]:
        """Return the old pieces, and new ones in place of those that have changed."""
        pieces = [*self._old]
        sums = changing.after(memory.data, [pieces[i].checksum for i in changing.pieces])
        for i, checksum in zip(changing.pieces, sums, strict=True):
            if i not in self._missing:
                pieces[i] = self._next(i, pieces[i], checksum, memory)
        for i in self._missing:
            self._cut(i, memory)
        for i, piece in self._found.items():
            pieces[i] = piece
        return tuple(pieces)

    def _next(self, i: int, old: Piece, checksum: str, memory: Array) -> Piece:
        """Return the piece with that index, which has that checksum now."""
        if old.checksum == checksum:
            return old
        piece = Piece(f"{self.version}-{self.token}-{i}", old.size, checksum)
        if self._saving:
            self._saving.write((piece, memory.data[i * PIECE_BYTES : i * PIECE_BYTES + old.size]))
        return piece

    def _cut(self, i: int, memory: Array) -> None:
        """Add the piece with that index, unless it was added before."""
        if i not in self._found:
            self._add(i, memory)

    def _add(self, i: int, memory: Array) -> None:
        data = memory.data[i * PIECE_BYTES : (i + 1) * PIECE_BYTES]
        checksum = self._blocks_of(memory).sum_of(i, data) if self._summed else checksum_of(data)
        piece = Piece(f"{self.version}-{self.token}-{i}", len(data), checksum)
        old = self._old[i] if i < len(self._old) else None
        if old is not None and (old.size, old.checksum) == (piece.size, piece.checksum):
            self._found[i] = old
        else:
            self._found[i] = piece
            if self._saving:
                self._saving.write((piece, data))

    def _blocks_of(self, memory: Array) -> Blocks:
        with self._lock:
            if self.blocks is None or self.blocks.state_bytes != len(memory):
                self.blocks = Blocks(len(memory))
            return self.blocks
