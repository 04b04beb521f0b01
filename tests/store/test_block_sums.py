"""Sums of block checksums: those that are updated equal those that are made anew, and tell all damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import StateDamaged
from app.store.block_sums import BLOCK_BYTES, PREFIX, Blocks, Changing, blocks_of, is_sum, sum_of
from app.store.piece import PIECE_BYTES, Piece, cut
from optim_engine.arrays import Array

SIZE = 2 * PIECE_BYTES + 3 * BLOCK_BYTES + 100
"""A state of three pieces; the last block is shorter."""
STATE = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)


def sums_of(state: Array) -> list[str]:
    return [sum_of(data) for data in cut(state.data)]


Ranges = list[tuple[Array, int]]


def of_one_length(length: int) -> st.SearchStrategy[tuple[Array, int]]:
    starts = st.lists(st.integers(0, SIZE - length), max_size=5).map(lambda starts: np.array(starts, np.int64))
    return st.tuples(starts, st.just(length))


ranges = st.lists(st.sampled_from([0, 1, 8, 256, 2000, PIECE_BYTES]).flatmap(of_one_length), max_size=4)


def each(touched: Ranges) -> list[slice]:
    return [slice(start, start + length) for starts, length in touched for start in starts.tolist()]


@settings(deadline=None, max_examples=40)
@given(st.lists(ranges, max_size=4), st.integers(0, 1 << 30))
def test_updated_sums_equal_those_of_all_bytes(steps: list[Ranges], seed: int) -> None:
    state, draw = STATE.copy(), np.random.default_rng(seed)
    known, sums = Blocks(SIZE), sums_of(state)
    for touched in steps:
        changing = Changing(state.data, blocks_of(touched), known)
        for part in each(touched):
            state[part] = draw.integers(0, 256, part.stop - part.start)
        after = changing.after(state.data, [sums[i] for i in changing.pieces])
        for i, new in zip(changing.pieces, after, strict=True):
            sums[i] = new
    assert sums == sums_of(state)


@settings(deadline=None, max_examples=30)
@given(ranges)
def test_blocks_of_ranges_are_those_of_their_bytes(touched: Ranges) -> None:
    is_touched = np.zeros(SIZE, np.bool_)
    for part in each(touched):
        is_touched[part] = True
    assert blocks_of(touched).tolist() == np.unique(np.flatnonzero(is_touched) // BLOCK_BYTES).tolist()


def test_a_sum_has_the_documented_value() -> None:
    """Guards the stored form: XXH3 of 128 bits with the block's number as its seed, the halves added apart."""
    assert sum_of(b"") == "sum:" + "0" * 32
    assert sum_of(b"abc") == "sum:06b05ab6733a618578af5f94892f3950"
    assert is_sum(sum_of(b"abc"))
    assert sum_of(bytes(PIECE_BYTES)) == "sum:b39f622bfd1a39386598c4ea156206de"


@pytest.mark.parametrize("damage", ["a flipped bit", "blocks that changed places", "a lost end", "a block twice"])
def test_a_piece_with_a_sum_refuses_other_bytes(damage: str) -> None:
    data = STATE[:PIECE_BYTES].copy()
    piece = Piece("p", len(data), sum_of(data.tobytes()))
    piece.verify("session-1", data.data)
    blocks = data.reshape(-1, BLOCK_BYTES)
    match damage:
        case "a flipped bit":
            data[12345] ^= 4
        case "blocks that changed places":
            blocks[[3, 500]] = blocks[[500, 3]]
        case "a lost end":
            data = data[:-BLOCK_BYTES]
        case _:
            blocks[5] = blocks[6]
    with pytest.raises(StateDamaged, match=f"piece p should be {PIECE_BYTES} bytes with checksum {PREFIX}"):
        piece.verify("session-1", data.data)
