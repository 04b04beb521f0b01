"""Checksums taken in passing equal those of the whole, in whatever order the engine tells what it has filled."""

import random

import numpy as np
import pytest
import xxhash

from app.checksums import checksums_of
from app.once import Once
from app.passing import Passing, checksums_passed
from app.pieces import Pieces
from app.step import StepRequest
from app.store.base import Head, Saving
from app.store.memory import MemoryStore
from optim_engine import State
from optim_engine.arrays import CHUNK, Arrays

SHAPES = {"a": (2 * CHUNK + 5,), "b": (3, CHUNK), "c": (10,)}
BODY = memoryview(np.random.default_rng(1).bytes(1 << 23))


@pytest.fixture
def params() -> Arrays:
    draw = np.random.default_rng(0)
    return {name: draw.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


def passing_of(state: State, request: StepRequest) -> Passing:
    saving = Saving(MemoryStore(1), "token")
    return Passing(Pieces(Head("session", "tenant", 0, "", b""), saving), state.layout, request)


@pytest.mark.parametrize("told", [0, 3, None])
def test_checksums_are_those_of_the_whole(params: Arrays, told: int | None) -> None:
    state = State.empty().with_params(params)
    request = StepRequest(params, Once("POST …").with_body_of_step(BODY))
    passing = passing_of(state, request)
    parts = [
        (first + 4 * at, min(first + 4 * (at + CHUNK), end))
        for first, end in (state.layout.range(name, "params") for name in SHAPES)
        for at in range(0, (end - first) // 4, CHUNK)
    ]
    random.Random(0).shuffle(parts)
    for start, end in parts[:told]:
        passing.filled(state.memory, start, end)
    held = {name: state.memory[slice(*state.layout.range(name, "params"))].view(np.float32) for name in SHAPES}
    taken = {name for name in SHAPES if passing.of(name, held[name])}
    assert taken == ({"a", "b"} if told is None else set()) or told
    assert checksums_passed(held, passing) == checksums_of(params)
    assert request.once.body_digest == xxhash.xxh3_128_hexdigest(BODY)


def test_another_array_has_its_own_checksum(params: Arrays) -> None:
    state = State.empty().with_params(params)
    passing = passing_of(state, StepRequest(params, Once("POST …")))
    passing.filled(state.memory, *state.layout.range("a", "params"))
    other = {"a": params["a"] + 1}
    assert checksums_passed(other, passing) == checksums_of(other)
