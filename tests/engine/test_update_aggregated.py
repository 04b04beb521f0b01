"""Steps with aggregates: gradients in the compute dtype, for tensors of any dtype; and what is asked of each before."""

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from optim_engine import Config, InvalidConfig, NonFinite, State, TensorMismatch, examine, step
from optim_engine.arrays import Arrays, compute_dtype
from optim_engine.machine import Machine
from tests.engine.cases import (
    ALL,
    DTYPES,
    HALVES,
    KERNELS,
    SHAPES,
    WITH_LARGE,
    Case,
    each_dtype,
    each_machine,
    one_cell_each,
    same_bits,
    tensors,
)
from tests.engine.row_cases import SHAPE, drawn

KINDS = ("adamw", "adamw_clip_norm", "sgd_nesterov_all", "nadam_cautious", "adafactor", "lamb", "muon", "prodigy")
SOME = [case for case in ALL if case.name in KINDS]
"""A rule of each kind: by blocks or whole tensors, sharing numbers or not."""


def wide(grads: Arrays) -> dict[str, Any]:
    return {name: np.asarray(g.astype(compute_dtype(g.dtype))) for name, g in grads.items()}


def dtypes_of(grads: Arrays) -> dict[str, np.dtype[Any]]:
    return {name: g.dtype for name, g in grads.items()}


def holding(case: Case) -> Config:
    return replace(case.config, hold_params=True)


@one_cell_each("case, dtype, machine", SOME, DTYPES, KERNELS)
def test_an_aggregate_of_one_gradient_is_the_plain_step(case: Case, machine: Machine, dtype: type[Any]) -> None:
    state = same = State.empty().with_params(case.tensors(0, dtype))
    for t in range(1, 4):
        grads = case.tensors(t, dtype)
        outcome = step(holding(case), state, {}, wide(grads), dtypes=dtypes_of(grads), machine=machine)
        plain = step(holding(case), same, {}, grads, machine=machine)
        assert same_bits(outcome.params, plain.params)
        assert outcome.metrics == plain.metrics
        assert outcome.state.memory.tobytes() == plain.state.memory.tobytes()
        state, same = outcome.state, plain.state


@each_machine
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("wire", [False, True])
def test_an_aggregate_of_halves_keeps_its_digits(machine: Machine, half: str, wire: bool) -> None:
    config = Config.parse("adamw", hold_params=True, wire_dtype=half if wire else None, clip={"global_norm": 0.7})
    params, mean = tensors(0, DTYPES["float32" if wire else half], WITH_LARGE), tensors(1, np.float32, WITH_LARGE)
    halves = dict.fromkeys(WITH_LARGE, np.dtype(DTYPES[half]))
    outcome = step(config, State.empty().with_params(params), {}, mean, dtypes=halves, machine=machine)
    plain = step(replace(config, wire_dtype=None), State.empty().with_params(wide(params)), {}, mean, machine=machine)
    assert same_bits(outcome.params, {name: θ.astype(DTYPES[half]) for name, θ in plain.params.items()})
    assert outcome.metrics == plain.metrics
    for name in WITH_LARGE:
        assert np.array_equal(outcome.state.array(name, "v"), plain.state.array(name, "v"))


@pytest.mark.parametrize("sparse", ["dense", "lazy"])
def test_an_aggregate_of_rows_is_the_plain_step(sparse: str) -> None:
    config = Config.parse("adamw", hold_params=True, groups=[{"match": ["emb"], "sparse": sparse}])
    state = same = State.empty().with_params({"emb": np.zeros(SHAPE, ml_dtypes.bfloat16)})
    for t in range(3):
        rows, g = drawn(t, ml_dtypes.bfloat16)
        outcome = step(config, state, {}, wide({"emb": g}), rows={"emb": rows}, dtypes={"emb": g.dtype})
        plain = step(config, same, {}, {"emb": g}, rows={"emb": rows})
        assert same_bits(outcome.params, plain.params)
        assert outcome.metrics == plain.metrics
        assert outcome.state.memory.tobytes() == plain.state.memory.tobytes()
        state, same = outcome.state, plain.state


def test_a_gradient_in_another_dtype_is_refused() -> None:
    config, state = Config.parse("adamw", hold_params=True), State.empty().with_params(tensors(0, np.float16))
    with pytest.raises(TensorMismatch, match="convert it to float16"):
        step(config, state, {}, tensors(1, np.float32))
    with pytest.raises(TensorMismatch, match="convert it to float32"):
        step(config, state, {}, tensors(1, np.float16), dtypes=dict.fromkeys(SHAPES, np.dtype(np.float16)))
    with pytest.raises(TensorMismatch, match="the session has it as float16"):
        step(config, state, {}, tensors(1, np.float32), dtypes=dict.fromkeys(SHAPES, np.dtype(np.float32)))


def test_a_skipped_aggregate_answers_in_the_dtypes_that_came() -> None:
    config = Config.parse("adamw", hold_params=True, on_non_finite="skip")
    params = tensors(0, np.float16)
    bad = {**tensors(1, np.float32), "gain": np.float32(np.inf)}
    outcome = step(
        config,
        State.empty().with_params(params),
        {},
        {name: np.asarray(g) for name, g in bad.items()},
        dtypes=dict.fromkeys(SHAPES, np.dtype(np.float16)),
    )
    assert outcome.skipped
    assert same_bits(outcome.params, params)


@each_machine
@each_dtype
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_norm_of_a_gradient_is_that_of_its_step(machine: Machine, dtype: type[Any], scale: float) -> None:
    config = Config.parse("adamw", hold_params=True)
    state, grads = State.empty().with_params(tensors(0, dtype, WITH_LARGE)), tensors(1, dtype, WITH_LARGE)
    found = examine(config, state, grads, grad_scale=scale, machine=machine)
    assert found == step(config, state, {}, grads, grad_scale=scale, machine=machine).metrics.grad_norm


def test_what_a_step_would_refuse_is_refused_before() -> None:
    config = Config.parse("adamw", hold_params=True, on_non_finite="skip")
    state, grads = State.empty().with_params({"w": np.zeros((2, 3))}), np.ones((2, 3))
    with pytest.raises(TensorMismatch, match="has a gradient and no parameter"):
        examine(config, state, {"other": grads})
    with pytest.raises(TensorMismatch, match="row 2 is out of range"):
        examine(config, state, {"w": grads}, rows={"w": np.array([0, 2])})
    with pytest.raises(InvalidConfig, match="grad_scale"):
        examine(config, state, {"w": grads}, grad_scale=0.0)
    with pytest.raises(NonFinite) as raised:
        examine(config, state, {"w": np.array([[0.0, 1.0, np.nan]])}, rows={"w": np.array([1])})
    assert (raised.value.tensor, raised.value.index) == ("w", (1, 2))
