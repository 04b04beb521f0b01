"""Every rule, with each of its flags, in every dtype, against the oracle on plain floats. An emulated processor takes
fewer steps (`ORACLE_STEPS`)."""

import os
from collections.abc import Iterator, Mapping
from math import frexp, ldexp
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from optim_engine import OPTIMIZERS, Outcome, State, step
from optim_engine.arrays import Array
from optim_engine.machine import ALONE, Machine
from tests import oracle, oracle_rules, oracle_shared, oracle_tensors
from tests.amounts import times
from tests.engine.cases import ALL, RULES, Case, each_case_and_machine, one_cell_each, same_bits
from tests.oracle_defaults import DEFAULTS

STEPS = int(os.environ.get("ORACLE_STEPS") or times(quick=40, whole=200))


def test_every_optimizer_has_cases_and_an_oracle() -> None:
    assert set(OPTIMIZERS) == {*oracle_rules.RULES, *oracle_tensors.TENSOR_RULES} == {case.optimizer for case in RULES}


def test_every_hyperparameter_of_every_optimizer_is_varied_in_a_case() -> None:
    varied = {(case.optimizer, name) for case in ALL for name in case.hyperparameters}
    assert {(optimizer, name) for optimizer, defaults in DEFAULTS.items() for name in defaults} <= varied


@each_case_and_machine
def test_float64_stays_within_1e_12_of_the_oracle(case: Case, machine: Machine) -> None:
    """Relative to the largest that the element has been: one that passes through zero has lost digits for good."""
    θ = {name: _tensor(array) for name, array in case.tensors(0, np.float64).items()}
    s: dict[str, oracle_tensors.Slots] = {name: {} for name in θ}
    largest: dict[Any, float] = {}
    for t, _, grads, outcome in _steps(case, np.float64, machine):
        clipping = _clipping(case, grads)
        numbers = _shared(case, t, θ, grads, s, clipping)
        for name, g in grads.items():
            h = case.settings_of(name)
            values, s[name] = oracle_tensors.step(
                case.optimizer, h, t, _lr(case, h, t), θ[name], _tensor(g), {**s[name], **numbers}, **clipping
            )
            θ[name] = θ[name]._replace(values=values)
        engine = _elements({**_named("params", outcome.params), **_slots(outcome.state)})
        second = {("params", name, i): x for name, tensor in θ.items() for i, x in enumerate(tensor.values)} | {
            (slot, name, i): x
            for name, slots in s.items()
            for slot, values in slots.items()
            for i, x in enumerate(values)
        }
        assert engine.keys() == second.keys()
        for key, expected in second.items():
            largest[key] = max(largest.get(key, 0.0), abs(expected))
            assert abs(engine[key] - expected) <= 1e-12 * largest[key], (t, key)


@each_case_and_machine
def test_float32_is_within_4_units_in_the_last_place(case: Case, machine: Machine) -> None:
    """Each step is computed from the engine's own state; the unit is that of the largest operand of a sum. Products of
    matrices are within 1e-5 of the largest element."""
    state = State.empty()
    for t, params, grads, outcome in _steps(case, np.float32, machine):
        clipping = _clipping(case, grads)
        if "clip_scale" in clipping:
            assert outcome.metrics.clip_scale == pytest.approx(clipping["clip_scale"], rel=1e-6)
            clipping["clip_scale"] = outcome.metrics.clip_scale
        for name, array in params.items():
            h, θ, came = case.settings_of(name), _tensor(array), _tensor(grads[name])
            pairs = list(zip(θ.values, came.values, strict=True))
            g = came._replace(values=[oracle_rules.gradient(case.optimizer, h, x, y, **clipping) for x, y in pairs])
            operands = came._replace(values=[max(abs(y), h["weight_decay"] * abs(x)) for x, y in pairs])
            new = _moments_of(outcome.state, name)
            numbers = {slot: new[slot] for slot in oracle_shared.SLOTS if slot in new}
            zeros = {slot: [0.0] * len(values) for slot, values in new.items()} | numbers
            old = {**(_moments_of(state, name) if name in state.entries else zeros), **numbers}
            lr = _lr(case, h, t)
            alone = oracle_tensors.advance(case.optimizer, h, t, lr, θ, operands, zeros)
            for slot, expected in oracle_tensors.advance(case.optimizer, h, t, lr, θ, g, old).items():
                for found in zip(new[slot], expected, old[slot], alone[slot], strict=True):
                    assert _units(*found) <= 4, (t, name, slot)
            _check_param(case, t, h, θ, g, new, _tensor(outcome.params[name]).values)
        state = outcome.state


def _check_param(
    case: Case,
    t: int,
    h: Mapping[str, Any],
    θ: oracle_tensors.Tensor,
    g: oracle_tensors.Tensor,
    new: oracle_tensors.Slots,
    result: list[float],
) -> None:
    """Hold a new parameter against the oracle's; the operands are what they are where nothing cancels."""

    def applied(*numbers: Any) -> list[float]:
        return oracle_tensors.apply(case.optimizer, h, t, _lr(case, h, t), *numbers, ε=2.0**-23)

    expected = applied(θ, g, new)
    if OPTIMIZERS[case.optimizer].bits == "machine":
        assert max(abs(x - y) for x, y in zip(result, expected, strict=True)) <= 1e-5 * max(map(abs, expected)), t
        return
    positive = [tensor._replace(values=[abs(x) for x in tensor.values]) for tensor in (θ, g)]
    largest = applied(*positive, {slot: [abs(x) for x in values] for slot, values in new.items()})
    for x, y, before, least in zip(result, expected, positive[0].values, largest, strict=True):
        assert _units(x, y, before, before - least) <= 4, t


@one_cell_each("case, dtype", ALL, {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16})
def test_half_precision_is_the_float32_step_rounded_once(case: Case, dtype: type[Any]) -> None:
    state = State.empty()
    for _, params, grads, outcome in _steps(case, dtype):
        wide = step(case.config, state, _as(params, np.float32), _as(grads, np.float32))
        assert same_bits(outcome.params, _as(wide.params, dtype))
        assert outcome.state.memory.tobytes() == wide.state.memory.tobytes()
        assert outcome.metrics == wide.metrics
        state = wide.state


def _steps(
    case: Case, dtype: type[Any], machine: Machine = ALONE
) -> Iterator[tuple[int, dict[str, Array], dict[str, Array], Outcome]]:
    """Yield each step's number, parameters and gradients, and what came of them."""
    params, state = case.tensors(0, dtype), State.empty()
    for t in range(1, STEPS + 1):
        grads = case.tensors(t, dtype)
        outcome = step(case.config, state, params, grads, machine=machine)
        assert outcome.state.t == t
        yield t, params, grads, outcome
        params, state = outcome.params, outcome.state


def _shared(
    case: Case,
    t: int,
    θ: Mapping[str, oracle_tensors.Tensor],
    grads: Mapping[str, Array],
    s: Mapping[str, oracle_tensors.Slots],
    clipping: Mapping[str, float],
) -> oracle_tensors.Slots:
    """Return the numbers that all tensors share after the step."""
    tensors = {}
    for name, came in grads.items():
        h, g = case.settings_of(name), _tensor(came)
        pairs = zip(θ[name].values, g.values, strict=True)
        g = g._replace(values=[oracle_rules.gradient(case.optimizer, h, x, y, **clipping) for x, y in pairs])
        tensors[name] = oracle_shared.Seen(h, t, _lr(case, h, t), θ[name], g, s[name])
    return oracle_shared.shared(case.optimizer, tensors)


def _tensor(array: Array) -> oracle_tensors.Tensor:
    return oracle_tensors.Tensor(array.shape, array.reshape(-1).tolist())


def _elements(arrays: Mapping[tuple[str, str], Array]) -> dict[tuple[str, str, int], float]:
    """Return each element by slot, name and place."""
    return {(*key, i): x for key, array in arrays.items() for i, x in enumerate(array.reshape(-1).tolist())}


def _moments_of(state: State, name: str) -> oracle_tensors.Slots:
    return {slot: state.array(name, slot).reshape(-1).tolist() for slot in state.entries[name].moments}


def _named(slot: str, arrays: Mapping[str, Array]) -> dict[tuple[str, str], Array]:
    return {(slot, name): array for name, array in arrays.items()}


def _slots(state: State) -> dict[tuple[str, str], Array]:
    return {(slot, name): array for slot, name, array in state.arrays()}


def _as(arrays: Mapping[str, Array], dtype: type[Any]) -> dict[str, Array]:
    return {name: array.astype(dtype) for name, array in arrays.items()}


def _lr(case: Case, h: Mapping[str, Any], t: int) -> float:
    return float(h["lr"]) * oracle.factor(case.around.get("schedule"), t)


def _clipping(case: Case, grads: Mapping[str, Array]) -> dict[str, float]:
    clip = case.around.get("clip", {})
    if "global_norm" in clip:
        values = [x for g in grads.values() for x in _tensor(g).values]
        return {"clip_scale": oracle.clip_scale(values, clip["global_norm"])}
    return {"clip_value": clip["value"]} if clip else {}


def _units(actual: float, expected: float, *operands: float) -> float:
    """Return their distance, in units in the last place of the largest of all."""
    largest = max(abs(x) for x in (actual, expected, *operands))
    return abs(actual - expected) / ldexp(1.0, max(frexp(largest)[1] - 24, -149))
