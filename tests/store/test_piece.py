"""Pieces: what they refuse, and how a state is cut."""

import pytest

from app.errors import StateDamaged
from app.store.piece import PIECE_BYTES, Piece, checksum_of, cut


@pytest.mark.parametrize("data", [None, b"", b"abd", b"abcd"])
def test_a_piece_refuses_other_bytes(data: bytes | None) -> None:
    piece = Piece("p", 3, checksum_of(b"abc"))
    piece.verify("session-1", b"abc")
    with pytest.raises(StateDamaged, match="session-1: piece p should be 3 bytes"):
        piece.verify("session-1", data)


@pytest.mark.parametrize(("size", "sizes"), [(0, []), (1, [1]), (PIECE_BYTES, [PIECE_BYTES]), (PIECE_BYTES + 1, None)])
def test_a_state_is_cut_into_pieces_of_one_size(size: int, sizes: list[int] | None) -> None:
    assert [len(piece) for piece in cut(memoryview(bytes(size)))] == (sizes or [PIECE_BYTES, 1] if size else [])
