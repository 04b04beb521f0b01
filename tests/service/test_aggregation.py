"""The gradient of a round, read from the pieces of its contributions: the same bits as from whole arrays in memory."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.compute import Compute
from app.contributions import aggregation, aggregation_plan, windows
from app.contributions.aggregation import Aggregated, Weighed, aggregated
from app.expansion import expanded
from app.store import piece
from app.store.base import new_token
from app.store.piece import Piece
from app.wire import contributions
from app.wire.codec import Limits
from app.wire.codecs import SAFETENSORS
from app.wire.contributions import parts_of
from app.wire.safetensors_tensors import write_file
from optim_engine import Layout, State
from optim_engine.aggregate import Aggregate, Part
from optim_engine.arrays import Array, compute_dtype, flat
from optim_engine.unscaled import unscaled
from tests.engine.cases import AGGREGATES, DTYPES
from tests.examples import examples
from tests.wire.steps import ONCE

LIMITS = Limits(100, 100)
SHAPES = {"b": (7,), "emb": (9, 3), "empty": (0, 3), "gain": (), "q": (300,), "w": (5, 4)}


class Pieces:
    """The pieces of some bodies, and how many bytes were read at once."""

    def __init__(self) -> None:
        self.contents: dict[str, memoryview] = {}
        self.reads: list[int] = []

    def keep(self, worker: str, body: bytes, weight: float = 1.0, norm: float = 0.0) -> Weighed:
        parts = parts_of(memoryview(body), new_token())
        self.contents |= {part.name: data for part, data in parts}
        return Weighed(worker, [part for part, _ in parts], weight, norm)

    async def read(self, pieces: Sequence[Piece]) -> list[memoryview]:
        self.reads.append(sum(part.size for part in pieces))
        return [self.contents[part.name] for part in pieces]


def body_of(tensors: Mapping[str, Array], **metadata: str) -> bytes:
    return b"".join(write_file(metadata, tensors.items()))


def layout_of(dtype: Any, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> Layout:
    return State.empty().with_params({name: np.zeros(shape, dtype) for name, shape in shapes.items()}).layout


def found_by(aggregate: Aggregate, pieces: Pieces, contributions: Sequence[Weighed], layout: Layout) -> Aggregated:
    compute = Compute(2)
    try:
        return asyncio.run(aggregated(aggregate, contributions, layout, pieces.read, compute))
    finally:
        compute.close()


def in_memory(
    aggregate: Aggregate, bodies: Sequence[bytes], contributions: Sequence[Weighed], layout: Layout
) -> dict[str, Array]:
    """Return the aggregate of whole tensors, with zeros where nothing was sent."""
    requests = [expanded(SAFETENSORS.read_step(memoryview(body), LIMITS, ONCE), layout) for body in bodies]
    grads = [unscaled(request.grads, request.grad_scale) for request in requests]
    collect = aggregate.of([one.weight for one in contributions], [one.norm for one in contributions])
    whole = {}
    for name in {name for of_one in grads for name in of_one}:
        spec = layout.entries[name].spec
        chunk = collect(spec.size, spec.compute_dtype)
        for request, of_one in zip(requests, grads, strict=True):
            dense = np.zeros(spec.shape, spec.compute_dtype)
            if name in of_one:
                dense[request.rows.get(name, ...)] = of_one[name]
            chunk.add(Part(flat(dense)))
        whole[name] = np.empty(spec.shape, spec.compute_dtype)
        chunk.write(whole[name].reshape(-1))
    return whole


@contextmanager
def cut_small(piece_bytes: int, window: int, block: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (piece, contributions, aggregation_plan, aggregation):
            patch.setattr(module, "PIECE_BYTES", piece_bytes)
        for module in (windows, aggregation):
            patch.setattr(module, "WINDOW_BYTES", window * piece_bytes)
        patch.setattr(aggregation, "MATRIX_BYTES", 8 * block)
        patch.setattr(aggregation, "SORTED_BLOCK", block)
        patch.setattr(aggregation, "BLOCK", block)
        yield


@st.composite
def bodies_of(draw: st.DrawFn, dtype: Any) -> bytes:
    """Draw a body: some tensors in any order, each in one of the forms that it may come in."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    names = draw(st.lists(st.sampled_from([*SHAPES]), unique=True, min_size=1) | st.just([*SHAPES]))
    tensors: dict[str, Any] = {}
    for name in names:
        shape = SHAPES[name]
        forms = ["dense", "dense", "at", *(["rows"] * 2 if len(shape) == 2 else [])]
        form = draw(st.sampled_from(forms))
        if form != "dense":
            count = shape[0] if form == "rows" else int(np.prod(shape))
            ids = np.flatnonzero(rng.random(count) < draw(st.sampled_from([0.3, 1.0]))).astype(np.int64)
            tensors[f"{form}/{name}"] = ids
            shape = (len(ids), *shape[1:]) if form == "rows" else (len(ids),)
        if dtype == np.float32 and draw(st.booleans()):
            size = int(np.prod(shape))
            scales = draw(st.sampled_from([1, -(-size // 256)])) if size else 1
            tensors[f"scale/{name}"] = rng.standard_normal(scales).astype(np.float32)
            tensors[f"grads/{name}"] = rng.integers(-127, 127, shape, np.int8)
        else:
            tensors[f"grads/{name}"] = np.asarray(rng.standard_normal(shape)).astype(dtype)
    scale = draw(st.sampled_from([{}, {}, {"grad_scale": "3.0"}]))
    return body_of(tensors, format="x" * draw(st.integers(0, 40)), **scale)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Aggregate, Any, list[bytes]]:
    dtype = draw(st.sampled_from([*DTYPES.values()]))
    bodies = draw(st.lists(bodies_of(dtype), min_size=1, max_size=6))
    if draw(st.booleans()):
        bodies = [bodies[0]] * len(bodies)
    return draw(st.sampled_from(AGGREGATES)), dtype, bodies


CUTS = st.tuples(st.sampled_from([64, 200, 4096]), st.sampled_from([1, 3, 50]), st.sampled_from([1, 8, 1000]))


@examples(quick=60, whole=5000)
@given(rounds(), CUTS)
@pytest.mark.long
def test_pieces_give_the_bits_of_whole_arrays(drawn: tuple[Any, ...], cuts: tuple[int, int, int]) -> None:
    (aggregate, dtype, bodies), layout = drawn, layout_of(drawn[1])
    with cut_small(*cuts):
        pieces = Pieces()
        weights = [1.0 + i / 3 if aggregate.takes_weights else 1.0 for i in range(len(bodies))]
        kept = [pieces.keep(f"w{i}", body, weights[i], 0.3 * i) for i, body in enumerate(bodies)]
        found = found_by(aggregate, pieces, kept[::-1], layout)
    whole = in_memory(aggregate, bodies, kept, layout)
    assert [*found.grads] == sorted(whole)
    assert found.dtypes == dict.fromkeys(found.grads, np.dtype(dtype))
    for name, g in found.grads.items():
        expected = whole[name].reshape(SHAPES[name])
        if name in found.rows:
            others = np.delete(expected, found.rows[name], axis=0)
            assert not others.any()
            expected = expected[found.rows[name]]
        assert (g.dtype, g.shape) == (compute_dtype(np.dtype(dtype)), expected.shape)
        assert g.tobytes() == expected.tobytes()


def test_rows_are_a_union_unless_somebody_sends_the_whole_table() -> None:
    layout, pieces = layout_of(np.float32), Pieces()
    first = {"rows/emb": np.array([1, 5]), "grads/emb": np.ones((2, 3), np.float32)}
    second = {"rows/emb": np.array([5, 8]), "grads/emb": np.full((2, 3), 3, np.float32)}
    kept = [pieces.keep("a", body_of(first)), pieces.keep("b", body_of(second)), pieces.keep("c", body_of({}))]
    found = found_by(Aggregate("mean_of_sums"), pieces, kept, layout)
    assert found.rows["emb"].tolist() == [1, 5, 8]
    assert np.float32(found.grads["emb"] * 3).tolist() == [[1] * 3, [4] * 3, [3] * 3]
    whole = pieces.keep("d", body_of({"grads/emb": np.zeros((9, 3), np.float32)}))
    found = found_by(Aggregate("mean"), pieces, [*kept, whole], layout)
    assert found.rows == {}
    assert found.grads["emb"][:, 0].tolist() == [0, 0.25, 0, 0, 0, 1, 0, 0, 0.75]


def test_gradients_of_several_dtypes_stand_for_the_held_one() -> None:
    layout, pieces = layout_of(np.float32), Pieces()
    half = pieces.keep("a", body_of({"grads/b": np.ones(7, DTYPES["bfloat16"])}))
    single = pieces.keep("b", body_of({"grads/b": np.full(7, 2, np.float32)}))
    assert found_by(Aggregate("mean"), pieces, [half, half], layout).dtypes == {"b": DTYPES["bfloat16"]}
    mixed = found_by(Aggregate("mean"), pieces, [half, single], layout)
    assert (mixed.dtypes, mixed.grads["b"].tolist()) == ({"b": np.float32}, [1.5] * 7)


@pytest.mark.parametrize("aggregate", [Aggregate("mean"), Aggregate("median")], ids=["mean", "median"])
def test_large_contributions_are_read_once_by_windows(aggregate: Aggregate) -> None:
    rng = np.random.default_rng(0)
    shapes = {"w": (1 << 20,), "b": (5,), "v": (1 << 20,)}
    layout, pieces, bodies = layout_of(np.float32, shapes), Pieces(), list[bytes]()
    for i in range(5):
        grads = {f"grads/{name}": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        bodies.append(body_of(grads, format="x" * 100 * i))
    kept = [pieces.keep(f"w{i}", body) for i, body in enumerate(bodies)]
    found = found_by(aggregate, pieces, kept, layout)
    assert sum(pieces.reads) == sum(len(body) for body in bodies)
    assert max(pieces.reads) <= windows.WINDOW_BYTES
    whole = in_memory(aggregate, bodies, kept, layout)
    assert all(found.grads[name].tobytes() == whole[name].tobytes() for name in shapes)
