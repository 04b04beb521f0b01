"""Every rule, with each of its flags, in every dtype, for 200 steps against the oracle on plain floats."""

from collections.abc import Iterator, Mapping
from math import frexp, ldexp
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from optim_engine import OPTIMIZERS, Outcome, State, step
from optim_engine.arrays import Array
from optim_engine.machine import ALONE, Machine
from tests import oracle
from tests.engine.cases import ALL, RULES, Case, each_case, each_case_and_machine, same_bits, tensors

STEPS = 200


def test_every_optimizer_has_cases_and_an_oracle() -> None:
    assert set(OPTIMIZERS) == set(oracle.RULES) == {case.optimizer for case in RULES}


def test_every_hyperparameter_of_every_optimizer_is_varied_in_a_case() -> None:
    varied = {(case.optimizer, name) for case in ALL for name in case.hyperparameters}
    assert {(optimizer, name) for optimizer, defaults in oracle.DEFAULTS.items() for name in defaults} <= varied


@each_case_and_machine
def test_float64_stays_within_1e_12_of_the_oracle_over_all_steps(case: Case, machine: Machine) -> None:
    """Relative to the largest that the element has been: one that passes through zero has lost digits for good."""
    θ = dict(_elements(tensors(0, np.float64)))
    s: dict[Any, oracle.Moments] = {element: {} for element in θ}
    largest: dict[Any, float] = dict.fromkeys(θ, 0.0)
    for t, _, grads, outcome in _steps(case, np.float64, machine):
        clipping = _clipping(case, grads)
        for element, g in _elements(grads):
            h = case.settings_of(element[0])
            θ[element], s[element] = oracle.step(
                case.optimizer, h, t, _lr(case, h, t), θ[element], g, s[element], **clipping
            )
        engine: dict[Any, float] = {**dict(_elements(outcome.params)), **_moments(outcome.state)}
        second: dict[Any, float] = {
            **θ,
            **{(*element, slot): x for element, moments in s.items() for slot, x in moments.items()},
        }
        assert engine.keys() == second.keys()
        for key, expected in second.items():
            largest[key] = max(largest.get(key, 0.0), abs(expected))
            assert abs(engine[key] - expected) <= 1e-12 * largest[key], (t, key)


@each_case_and_machine
def test_float32_is_within_4_units_in_the_last_place_at_every_step(case: Case, machine: Machine) -> None:
    """Each step is computed from the engine's own state; the unit is that of the largest operand of a sum."""
    state = State.empty()
    for t, params, grads, outcome in _steps(case, np.float32, machine):
        clipping = _clipping(case, grads)
        if "clip_scale" in clipping:
            assert outcome.metrics.clip_scale == pytest.approx(clipping["clip_scale"], rel=1e-6)
            clipping["clip_scale"] = outcome.metrics.clip_scale
        before, after, θs = _moments(state), _moments(outcome.state), dict(_elements(outcome.params))
        gs = dict(_elements(grads))
        for element, θ in _elements(params):
            h, rule = case.settings_of(element[0]), oracle.RULES[case.optimizer]
            g = oracle.gradient(case.optimizer, h, θ, gs[element], **clipping)
            slots = outcome.state.entries[element[0]].moments
            old = {slot: before.get((*element, slot), 0.0) for slot in slots}
            new = {slot: after[*element, slot] for slot in slots}
            operand = max(abs(gs[element]), h["weight_decay"] * abs(θ))
            for slot, expected in rule.advance(h, t, g, old).items():
                alone = rule.advance(h, t, operand, dict.fromkeys(slots, 0.0))[slot]
                assert _units(new[slot], expected, old[slot], alone) <= 4, (t, element, slot)
            expected = rule.apply(h, t, _lr(case, h, t), θ, g, new)
            assert _units(θs[element], expected, θ) <= 4, (t, element)
        state = outcome.state


@each_case
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_is_the_float32_step_rounded_once(case: Case, dtype: type[Any]) -> None:
    state = State.empty()
    for _, params, grads, outcome in _steps(case, dtype):
        wide = step(case.config, state, _as(params, np.float32), _as(grads, np.float32))
        assert same_bits(outcome.params, _as(wide.params, dtype))
        assert same_bits(_slots(outcome.state), _slots(wide.state))
        assert outcome.metrics == wide.metrics
        state = wide.state


def test_a_variance_that_rounding_makes_negative_is_taken_as_zero() -> None:
    """Of constant gradients, the v − m² of centered RMSProp is 0 but for rounding."""
    config = Case("", "rmsprop", {"centered": True, "alpha": 0.5}).config
    params, state = {"x": np.zeros(50, np.float32)}, State.empty()
    for _ in range(60):
        outcome = step(config, state, params, {"x": np.linspace(0.1, 3, 50, dtype=np.float32)})
        params, state = outcome.params, outcome.state
    v, m = state.array("x", "v"), state.array("x", "m")
    assert (v - m * m < 0).any()
    assert np.isfinite(params["x"]).all()


def _steps(
    case: Case, dtype: type[Any], machine: Machine = ALONE
) -> Iterator[tuple[int, dict[str, Array], dict[str, Array], Outcome]]:
    """A run: each step's number, parameters and gradients, and what came of them."""
    params, state = tensors(0, dtype), State.empty()
    for t in range(1, STEPS + 1):
        grads = tensors(t, dtype)
        outcome = step(case.config, state, params, grads, machine=machine)
        assert outcome.state.t == t
        yield t, params, grads, outcome
        params, state = outcome.params, outcome.state


def _elements(arrays: Mapping[str, Array]) -> Iterator[tuple[tuple[str, int], float]]:
    for name, array in arrays.items():
        for i, x in enumerate(array.reshape(-1).tolist()):
            yield (name, i), x


def _moments(state: State) -> dict[tuple[str, int, str], float]:
    arrays = list(state.arrays())
    return {(name, i, slot): x for slot, name, array in arrays for i, x in enumerate(array.reshape(-1).tolist())}


def _slots(state: State) -> dict[str, Array]:
    return {f"{slot}/{name}": array for slot, name, array in state.arrays()}


def _as(arrays: Mapping[str, Array], dtype: type[Any]) -> dict[str, Array]:
    return {name: array.astype(dtype) for name, array in arrays.items()}


def _lr(case: Case, h: Mapping[str, Any], t: int) -> float:
    return float(h["lr"]) * oracle.factor(case.around.get("schedule"), t)


def _clipping(case: Case, grads: Mapping[str, Array]) -> dict[str, float]:
    clip = case.around.get("clip", {})
    if "global_norm" in clip:
        return {"clip_scale": oracle.clip_scale([g for _, g in _elements(grads)], clip["global_norm"])}
    return {"clip_value": clip["value"]} if clip else {}


def _units(actual: float, expected: float, *operands: float) -> float:
    """How far apart they are, in units in the last place of the largest of all."""
    largest = max(abs(x) for x in (actual, expected, *operands))
    return abs(actual - expected) / ldexp(1.0, max(frexp(largest)[1] - 24, -149))
