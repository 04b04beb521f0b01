"""Updates that lead to new parameters: to the bit where a sum of floats can, and the rest is known."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from optim_client.optax._rounding import bits, update_to

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def drawn(dtype: Any, lr: float) -> tuple[Any, Any]:
    draw = np.random.default_rng(0).standard_normal
    params = (0.05 * draw((300, 200))).astype(dtype)
    return params, (params.astype(np.float64) - lr * draw(params.shape)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_the_answers_but_for_a_known_rest(dtype: Any) -> None:
    params, answers = drawn(dtype, 1e-3)
    update, rest = update_to(params, answers)
    sums = params + update
    off = np.abs(sums.astype(np.float64) - answers.astype(np.float64))
    assert np.flatnonzero(bits(sums) != bits(answers)).tolist() == rest.at.tolist()
    assert rest.at.size < 0.01 * params.size
    assert (off <= np.abs(update.astype(np.float64)) * float(ml_dtypes.finfo(dtype).eps)).all()
    assert rest.restored(sums).tobytes() == answers.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_from_half_to_twice_are_the_answers(dtype: Any) -> None:
    draw = np.random.default_rng(0)
    answers = draw.standard_normal(100_000).astype(dtype)
    params = (answers * draw.uniform(0.505, 1.98, answers.size).astype(dtype)).astype(dtype)
    assert not update_to(params, answers)[1].at.size
    small = (answers * draw.uniform(0.1, 0.4, answers.size).astype(dtype)).astype(dtype)
    assert update_to(small, answers)[1].at.size


def test_only_sums_are_restored() -> None:
    params, answers = drawn(np.float32, 1e-3)
    update, rest = update_to(params, answers)
    others = params + update
    others.reshape(-1)[rest.at[0]] += 1
    restored = rest.restored(others)
    assert restored.reshape(-1)[rest.at[0]] == others.reshape(-1)[rest.at[0]]
    assert restored.reshape(-1)[rest.at[1]] == answers.reshape(-1)[rest.at[1]]
    assert rest.restored(params + 1) is not None


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)])
def test_every_shape_is_kept(shape: tuple[int, ...]) -> None:
    update, _ = update_to(np.ones(shape, np.float32), np.full(shape, 3, np.float32))
    assert (update.shape, update.dtype) == (shape, np.float32)
    assert (update == 2).all()


FINITE = st.floats(-(2.0**80), 2.0**80, width=32, allow_subnormal=False)


@given(arrays(np.float32, 8, elements=FINITE), arrays(np.float32, 8, elements=FINITE))
def test_a_sum_misses_by_the_last_digit_at_most(params: Any, answers: Any) -> None:
    update, rest = update_to(params, answers)
    off = np.abs(np.float64(params + update) - np.float64(answers))
    assert (off <= np.abs(np.float64(update)) * 2.0**-23).all()
    assert rest.restored(params + update).tobytes() == answers.tobytes()
