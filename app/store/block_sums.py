"""Sums of block checksums: checksums of pieces that a change of few bytes updates without a look at the others.

    s = Σᵢ xxh3_128(block i of the piece, seed i)      each half modulo 2⁶⁴

A change of some blocks adds the difference of their checksums. The seed is the block's place in its piece, so blocks
that have changed places are noticed too. A sum is written with `PREFIX`, other checksums of pieces without.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

from optim_engine.arrays import Array

BLOCK_BYTES = 1 << 11
"""Bytes of a block. Smaller ones take longer where a range of bytes is wide, larger ones where ranges are narrow."""
PIECE_BLOCKS = 1 << 9
"""The blocks of a whole piece."""
PREFIX = "sum:"

Halves: TypeAlias = npt.NDArray[np.uint64]
"""Checksums of 128 bits: [n, 2]."""


def is_sum(checksum: str) -> bool:
    """Return whether a piece's checksum is a sum."""
    return checksum.startswith(PREFIX)


def sum_of(data: memoryview | bytes) -> str:
    """Return the sum of a whole piece."""
    return Blocks(len(data)).sum_of(0, memoryview(data))


def blocks_of(ranges: Iterable[tuple[Array, int]]) -> Array:
    """Return the indices, in order, of the blocks of a state in which ranges of bytes lie: their starts and length."""
    blocks = np.concatenate([np.empty(0, np.int64), *(_within(starts, length) for starts, length in ranges if length)])
    if (blocks[1:] > blocks[:-1]).all():
        return blocks
    if not (blocks[1:] >= blocks[:-1]).all():
        blocks.sort()
    return blocks[_is_first(blocks)]


def _is_first(ordered: Array) -> Array:
    """Return whether each number of a list in order is the first one of its value."""
    is_first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return is_first


def _within(starts: Array, length: int) -> Array:
    """Return the blocks of the ranges, one range after the other; a block may stand there twice."""
    if len(starts) == 1:
        start = int(starts[0])
        return np.arange(start // BLOCK_BYTES, (start + length - 1) // BLOCK_BYTES + 1)
    first, last = starts[:, None] // BLOCK_BYTES, (starts[:, None] + length - 1) // BLOCK_BYTES
    blocks: Array = np.minimum(first + np.arange((length - 1) // BLOCK_BYTES + 2), last).reshape(-1)
    return blocks


class Blocks:
    """The checksums of the blocks of a state, as far as they were taken: one that is zero was not."""

    def __init__(self, state_bytes: int) -> None:
        self.state_bytes = state_bytes
        self._known: Halves = np.zeros((-(-state_bytes // BLOCK_BYTES), 2), np.uint64)

    @property
    def nbytes(self) -> int:
        """Return the bytes that they take."""
        return self._known.nbytes

    def sum_of(self, i: int, data: memoryview) -> str:
        """Return the sum of the piece with that index, taken anew."""
        blocks = i * PIECE_BLOCKS + np.arange(-(-len(data) // BLOCK_BYTES))
        found = self._known[blocks] = _checksums(data, blocks, i * PIECE_BLOCKS)
        return _written(found.sum(axis=0, keepdims=True))[0]

    def before(self, memory: memoryview, blocks: Array) -> Halves:
        """Return the checksums of some blocks before they change; those that are not known are taken."""
        found: Halves = self._known[blocks]
        if not found.all():
            unknown = ~found.any(axis=1)
            found[unknown] = _checksums(memory, blocks[unknown])
        return found

    def after(self, memory: memoryview, blocks: Array) -> Halves:
        """Return the checksums of some blocks that have changed."""
        found = self._known[blocks] = _checksums(memory, blocks)
        return found


class Changing:
    """The sums of a state's pieces while some of its blocks change; made before they do, of the state's memory."""

    def __init__(self, memory: memoryview, blocks: Array, known: Blocks) -> None:
        self._blocks = blocks
        self._known = known
        self._before = known.before(memory, blocks)
        pieces = blocks // PIECE_BLOCKS
        self._starts = np.flatnonzero(_is_first(pieces))
        self.pieces: Sequence[int] = pieces[self._starts].tolist()
        """The indices of the pieces that have one of the blocks, in their order."""

    def after(self, memory: memoryview, sums: Sequence[str]) -> list[str]:
        """Return the sums of `pieces` after the change. `sums` are those before it."""
        if not sums:
            return []
        change = np.add.reduceat(self._known.after(memory, self._blocks) - self._before, self._starts, axis=0)
        return _written(_read(sums) + change)


def _checksums(memory: memoryview, blocks: Array, first: int = 0) -> Halves:
    """Return the checksum of each block. The memory begins with the block `first`."""
    starts, seeds = ((blocks - first) * BLOCK_BYTES).tolist(), (blocks % PIECE_BLOCKS).tolist()
    checksum = xxhash.xxh3_128_digest
    found = [checksum(memory[at : at + BLOCK_BYTES], seed) for at, seed in zip(starts, seeds, strict=True)]
    return _halves(b"".join(found))


def _halves(checksums: bytes) -> Halves:
    return np.frombuffer(checksums, ">u8").reshape(-1, 2).astype(np.uint64)


def _read(sums: Sequence[str]) -> Halves:
    return _halves(bytes.fromhex("".join(checksum.removeprefix(PREFIX) for checksum in sums)))


def _written(sums: Halves) -> list[str]:
    digits = sums.astype(">u8").tobytes().hex()
    return [PREFIX + digits[at : at + 32] for at in range(0, len(digits), 32)]
