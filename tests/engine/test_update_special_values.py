"""NaN with any bits, infinities, signed zeros and subnormals through every rule: the same bits by every kernel, and one
NaN alone in what is kept and answered."""

import numpy as np
import pytest

from optim_engine import Config, Outcome, State, reapply, step
from optim_engine.arrays import compute_dtype
from optim_engine.machine import NUMPY, Machine, fastest
from tests.engine.cases import ALL, DTYPES, Case, one_cell_each, same_bits
from tests.engine.specials import BITS, mixed, special_step

NAN = {"float16": 0x7E00, "bfloat16": 0x7FC0, "float32": 0x7FC00000, "float64": 0x7FF8000000000000}
KERNELS = {NUMPY, fastest()}


@one_cell_each("case, dtype", ALL, {dtype: dtype for dtype in DTYPES})
def test_special_values_have_the_same_bits_by_every_kernel(case: Case, dtype: str) -> None:
    state, params, grads = special_step(case, dtype)
    outcomes = [step(case.config, state, params, grads, machine=Machine(kernel)) for kernel in KERNELS]
    for outcome in outcomes:
        assert_one_nan(outcome)
        assert outcome.state.memory.tobytes() == outcomes[0].state.memory.tobytes()
        assert same_bits(outcome.params, outcomes[0].params)
        again = reapply(case.config, outcome.state, params, grads, clip_scale=outcome.metrics.clip_scale)
        assert same_bits(again, outcome.params)


def assert_one_nan(outcome: Outcome) -> None:
    kept = [array for _, _, array in outcome.state.arrays()]
    for array in [*outcome.params.values(), *kept]:
        with np.errstate(invalid="ignore"):
            nans = array[np.isnan(array)].view(BITS[array.itemsize])
        assert set(nans.tolist()) <= {NAN[array.dtype.name]}
    assert any(np.isnan(array.astype(compute_dtype(array.dtype))).any() for array in outcome.params.values())


@pytest.mark.parametrize("wire", ["float16", "bfloat16"])
def test_held_parameters_sent_in_halves_have_one_nan(wire: str) -> None:
    config = Config.parse("adamw", hold_params=True, wire_dtype=wire)
    θ = {"x": mixed(1, 500, np.dtype(np.float32))}
    g = {"x": mixed(2, 500, np.dtype(DTYPES[wire]), finite=True)}
    for kernel in KERNELS:
        outcome = step(config, State.empty().with_params(θ, wire), {}, g, machine=Machine(kernel))
        assert_one_nan(outcome)
