"""The reports of a step: what it touches and what it fills are all bytes that it changes."""

from collections.abc import Sequence

import numpy as np
import pytest

from optim_engine import State, Touched, step
from optim_engine.arrays import Array
from tests.engine.cases import Case
from tests.engine.row_cases import config_of, drawn, own, table

CONFIG = config_of(Case("adamw", "adamw"), "lazy")
PARAMS = {"emb": table(0), "a": table(1), "b": table(2)}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("adjacent", [False, True])
def test_touched_and_filled_bytes_are_all_that_change(in_place: bool, adjacent: bool) -> None:
    state = step(CONFIG, State.empty(), PARAMS, PARAMS).state
    rows, g = drawn(4)
    rows = np.arange(5, 5 + len(rows)) if adjacent else rows
    before, told = state.memory.copy(), np.zeros(len(state.memory), int)
    calls: list[Sequence[Touched]] = []

    def touching(memory: Array, ranges: Sequence[Touched]) -> None:
        assert not told.any()
        assert memory.tobytes() == before.tobytes() or not in_place
        calls.append(ranges)
        for starts, length in ranges:
            for start in starts:
                assert (memory[start : start + length] == before[start : start + length]).all()
                told[start : start + length] += 1

    def filled(memory: Array, start: int, end: int) -> None:
        told[start:end] += 1

    grads = {"emb": g, "a": table(5)}
    outcome = step(
        CONFIG, own(state), {}, grads, rows={"emb": rows}, filled=filled, touching=touching, in_place=in_place
    )
    assert calls == [outcome.touched]
    assert told.max() == 1
    assert not (outcome.state.memory != before)[told == 0].any()
    assert told.sum() < len(before)


@pytest.mark.parametrize("rows", [True, False])
def test_without_touching_every_byte_is_filled_once(rows: bool) -> None:
    state = step(CONFIG, State.empty(), PARAMS, PARAMS).state
    indices, g = drawn(4)
    told = np.zeros(len(state.memory), int)

    def filled(memory: Array, start: int, end: int) -> None:
        told[start:end] += 1
        seen[start:end] = memory[start:end]

    seen = np.zeros_like(state.memory)
    named = {"emb": indices} if rows else {}
    outcome = step(CONFIG, state, {}, {"emb": g if rows else table(5), "a": table(6)}, rows=named, filled=filled)
    assert (told == 1).all()
    assert seen.tobytes() == outcome.state.memory.tobytes()


def test_a_step_that_moves_the_memory_touches_nothing() -> None:
    rows, g = drawn(4)
    told: list[Sequence[Touched]] = []
    outcome = step(
        CONFIG,
        State.empty(),
        {"emb": table(0)},
        {"emb": g},
        rows={"emb": rows},
        touching=lambda memory, ranges: told.append(ranges),
    )
    assert (told, outcome.touched) == ([], ())
