"""Contributions as a store keeps them: cut where their tensors begin, and read in parts from their pieces."""

import numpy as np
import pytest

from app.contributions.stored_gradients import Stored, header_pieces
from app.store.base import new_token
from app.store.piece import PIECE_BYTES, checksum_of
from app.wire.contributions import parts_of
from app.wire.safetensors_tensors import write_file
from optim_engine.arrays import Array

FLOAT32 = np.dtype(np.float32)


def body_of(*arrays: Array, **metadata: str) -> memoryview:
    tensors = {f"grads/{i}": array for i, array in enumerate(arrays)}
    return memoryview(b"".join(write_file(metadata, tensors.items())))


def stored(body: memoryview) -> tuple[Stored, dict[str, memoryview]]:
    parts = parts_of(body, new_token())
    contents = {piece.name: data for piece, data in parts}
    return Stored.read([piece for piece, _ in parts], contents), contents


def test_bodies_are_cut_in_the_same_places_of_their_tensors() -> None:
    g = np.zeros(700_000, np.float32)
    short, long = body_of(g), body_of(g, loss="0.5", grad_scale="2.0")
    sizes = [[piece.size for piece, _ in parts_of(body, new_token())] for body in (short, long)]
    assert len(short) < len(long)
    assert sizes[0][1:] == sizes[1][1:] == [PIECE_BYTES, PIECE_BYTES, g.nbytes - 2 * PIECE_BYTES]


def test_pieces_are_views_of_the_body_with_its_checksums() -> None:
    body = body_of(np.arange(700_000, dtype=np.float32))
    parts = parts_of(body, "token")
    assert b"".join(data for _, data in parts) == body
    assert all(data.obj is body.obj for _, data in parts)
    assert [piece.checksum for piece, _ in parts] == [checksum_of(data) for _, data in parts]
    assert [piece.name for piece, _ in parts] == [f"round-token-{i}" for i in range(4)]


def test_a_small_body_is_one_piece() -> None:
    assert len(parts_of(body_of(np.zeros(4, np.float32)), "token")) == 1


def test_values_are_read_across_the_end_of_a_piece() -> None:
    g = np.arange(700_000, dtype=np.float32)
    one, contents = stored(body_of(g))
    within = one.vector(contents, FLOAT32, 40, 80)
    assert (within.tolist(), within.flags.owndata) == (g[10:20].tolist(), False)
    start, end = PIECE_BYTES - 40, PIECE_BYTES + 40
    assert one.vector(contents, FLOAT32, start, end).tolist() == g[start // 4 : end // 4].tolist()
    assert [piece.size for piece in one.touched(start, end)] == [PIECE_BYTES, PIECE_BYTES]
    assert one.vector(contents, FLOAT32, 80, 80).size == 0


@pytest.mark.long
def test_a_long_header_is_in_several_pieces() -> None:
    body = memoryview(b"".join(write_file({}, {f"grads/{i:0900}": np.float32([i]) for i in range(1300)}.items())))
    parts = parts_of(body, new_token())
    assert [piece for piece, _ in parts[:2]] == header_pieces([piece for piece, _ in parts], parts[0][1])
    one, contents = stored(body)
    last = one.sent()[f"{1299:0900}"].grads
    assert one.vector(contents, FLOAT32, last.start, last.end).tolist() == [1299]


def test_of_the_metadata_only_the_scale_is_read() -> None:
    one, _ = stored(body_of(np.zeros(1, np.float32), grad_scale="4.0", epoch="7", weight="3"))
    assert one.grad_scale == 4.0
