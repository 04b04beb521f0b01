"""The division of gradients by `grad_scale`: its bits, its range, and the steps and replays that use it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, InvalidConfig, NonFinite, State, is_refused_early, reapply, step
from optim_engine.arrays import Arrays
from optim_engine.machine import Machine
from optim_engine.unscaled import unscaled
from tests.engine.cases import (
    ALL,
    DTYPES,
    HALVES,
    KERNELS,
    WITH_LARGE,
    Case,
    each_dtype,
    each_machine,
    one_cell_each,
    same_bits,
    tensors,
)


def times(grads: Arrays, scale: float) -> dict[str, Any]:
    with np.errstate(over="ignore"):
        return {name: (g * scale).astype(g.dtype) for name, g in grads.items()}


@one_cell_each("case, dtype, machine", ALL, {"float32": np.float32, "float64": np.float64}, KERNELS)
def test_a_power_of_two_is_as_divided_by_the_client(case: Case, machine: Machine, dtype: type[Any]) -> None:
    params, state, same = case.tensors(0, dtype), State.empty(), State.empty()
    for t in range(1, 4):
        grads = case.tensors(t, dtype)
        outcome = step(case.config, state, params, times(grads, 2.0**16), grad_scale=2.0**16, machine=machine)
        plain = step(case.config, same, params, grads, machine=machine)
        assert same_bits(outcome.params, plain.params)
        assert outcome.metrics == plain.metrics
        assert outcome.state.memory.tobytes() == plain.state.memory.tobytes()
        params, state, same = outcome.params, outcome.state, plain.state


@each_machine
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("clip", [None, {"global_norm": 0.7}])
def test_divided_halves_are_not_rounded_to_halves(machine: Machine, half: str, clip: Any) -> None:
    config = Config.parse("adamw", clip=clip)
    narrow, scaled = tensors(0, DTYPES[half], WITH_LARGE), tensors(1, DTYPES[half], WITH_LARGE)
    outcome = step(config, State.empty(), narrow, scaled, grad_scale=3e4, machine=machine)
    wide = {name: θ.astype(np.float32) for name, θ in narrow.items()}
    divided = {name: np.float32(g.astype(np.float64) / 3e4) for name, g in scaled.items()}
    plain = step(config, State.empty(), wide, divided, machine=machine)
    assert same_bits(outcome.params, {name: θ.astype(DTYPES[half]) for name, θ in plain.params.items()})
    assert outcome.metrics == plain.metrics
    for name in WITH_LARGE:
        for slot in ("m", "v"):
            assert np.array_equal(outcome.state.array(name, slot), plain.state.array(name, slot))


@pytest.mark.parametrize("half", HALVES)
def test_gradients_of_a_wire_dtype_are_divided_as_float32(half: str) -> None:
    config = Config.parse("adamw", hold_params=True, wire_dtype=half)
    params, wired = tensors(0, np.float32, WITH_LARGE), tensors(1, DTYPES[half], WITH_LARGE)
    outcome = step(config, State.empty(), params, wired, grad_scale=3.0)
    divided = {name: np.float32(g.astype(np.float64) / 3) for name, g in wired.items()}
    plain = step(replace(config, wire_dtype=None), State.empty(), params, divided)
    assert outcome.state.memory.tobytes() == plain.state.memory.tobytes()
    assert same_bits(outcome.params, {name: θ.astype(DTYPES[half]) for name, θ in plain.params.items()})


@each_dtype
def test_a_replay_divides_the_gradients_too(dtype: type[Any]) -> None:
    config = Config.parse("adamw", clip={"global_norm": 0.7})
    params, state = tensors(0, dtype, WITH_LARGE), State.empty()
    for t in range(1, 4):
        grads = tensors(t, dtype, WITH_LARGE)
        outcome = step(config, state, params, grads, grad_scale=0.3)
        clip_scale = outcome.metrics.clip_scale
        again = reapply(config, outcome.state, params, grads, clip_scale=clip_scale, grad_scale=0.3)
        assert same_bits(again, outcome.params)
        params, state = outcome.params, outcome.state


@each_dtype
def test_quotients_are_rounded_once_to_the_compute_dtype(dtype: type[Any]) -> None:
    grads = tensors(1, dtype)
    wide = np.float64 if dtype is np.float64 else np.float32
    wanted = {name: np.asarray(g.astype(np.float64) / 0.1, wide) for name, g in grads.items()}
    assert same_bits(unscaled(grads, 0.1), wanted)
    assert unscaled(grads, 1.0) is grads


def test_a_scale_beyond_float32_is_no_zero_and_no_infinity() -> None:
    grads = np.float32([2.0**127, 2.0**-149])
    assert unscaled({"w": grads}, 2.0**130)["w"].tolist() == [0.125, 0]
    assert unscaled({"w": grads}, 2.0**-200)["w"].tolist() == [np.inf, 2.0**51]


@pytest.mark.parametrize("on_non_finite", ["reject", "skip"])
def test_a_quotient_beyond_the_range_is_not_finite(on_non_finite: str) -> None:
    config = Config.parse("adamw", on_non_finite=on_non_finite)
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    if on_non_finite == "reject":
        assert not is_refused_early(config, grads, 1e-40)
        with pytest.raises(NonFinite, match="inf at"):
            step(config, State.empty(), params, grads, grad_scale=1e-40)
    else:
        outcome = step(config, State.empty(), params, grads, grad_scale=1e-40)
        assert outcome.skipped
        assert same_bits(outcome.params, params)


@pytest.mark.parametrize("scale", [0, -1, float("inf"), float("nan"), "2", None])
def test_a_bad_scale_is_refused(scale: Any) -> None:
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    with pytest.raises(InvalidConfig) as raised:
        step(Config.parse("adamw"), State.empty(), params, grads, grad_scale=scale)
    assert raised.value.where == "grad_scale"
