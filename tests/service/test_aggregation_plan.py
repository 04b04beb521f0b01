"""The plan of an aggregation: what is one vector, and where it is cut."""

from collections.abc import Mapping

import numpy as np

from app.contributions.aggregation_plan import BLOCK, Segment, segments_of
from app.contributions.stored_gradients import Stored
from app.store.base import new_token
from app.wire.contributions import parts_of
from app.wire.safetensors_tensors import write_file
from optim_engine import State
from optim_engine.arrays import Array

NAMES = [f"layer.{i:03}" for i in range(300)]


def planned(*bodies: Mapping[str, Array], loss: str = "0.5") -> list[Segment]:
    stored = list[Stored]()
    shapes = dict[str, tuple[int, ...]]()
    for i, grads in enumerate(bodies):
        tensors = {f"grads/{name}": g for name, g in grads.items()}
        body = memoryview(b"".join(write_file({"loss": loss + "0" * i}, tensors.items())))
        parts = parts_of(body, new_token())
        stored.append(Stored.read([piece for piece, _ in parts], {piece.name: data for piece, data in parts}))
        shapes |= {name: g.shape for name, g in grads.items()}
    held = State.empty().with_params({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return segments_of(stored, held.layout)


def test_tensors_side_by_side_in_all_bodies_are_one_segment() -> None:
    grads = {name: np.zeros(3, np.float32) for name in NAMES}
    (one,) = planned(grads, grads, grads)
    assert ([tensor.name for tensor in one.tensors], one.size) == (NAMES, 900)
    one, other = planned(grads, {name: grads[name] for name in NAMES[:100]})
    assert (len(one.tensors), len(other.tensors)) == (100, 200)


def test_tensors_in_another_order_are_segments_of_their_own() -> None:
    grads = {name: np.zeros(3, np.float32) for name in NAMES}
    assert len(planned(grads, dict(reversed(grads.items())))) == len(NAMES)


def test_each_block_of_equal_bodies_reads_one_piece_of_each() -> None:
    grads = {"b": np.zeros(1001, np.float32), "w": np.zeros((900, 1000), np.float32)}
    (one,) = planned(grads, grads)
    blocks = one.blocks(BLOCK)
    assert [block.stop for block in blocks] == [BLOCK, 2 * BLOCK, 3 * BLOCK, one.size]
    for source in one.sources:
        assert source is not None
        assert [len([*source.pieces(block)]) for block in blocks] == [1] * 4


def test_the_first_block_ends_where_a_piece_ends() -> None:
    grads = {"b": np.zeros(1001, np.float64), "w": np.zeros(BLOCK * 2, np.float32)}
    first, second = planned(grads)
    assert first.blocks(BLOCK)[0].stop == 1001
    assert second.blocks(BLOCK)[0].stop == BLOCK - 2002
