"""Runs over packed and large tensors, for tests that cut and pack them in other ways."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optim_engine import Outcome, State, step
from optim_engine.arrays import Array
from tests.engine.cases import Case, same_bits

SHAPES = {"b.bias": (7,), "a": (5, 8), "c": (), "d.bias": (3, 2), "big": (11, 17), "e": (0, 4), "f": (9,)}


def run(case: Case, dtype: type[Any], *, backwards: bool = False, steps: int = 4) -> Outcome:
    """Return the outcome of steps in which a tensor comes late and another is left out once."""
    params: Mapping[str, Array] = case.tensors(0, dtype, SHAPES)
    state = State.empty()
    for t in range(1, steps + 1):
        grads = case.tensors(t, dtype, SHAPES)
        names = [name for name in SHAPES if not (t == 1 and name == "a") and not (t == 3 and name == "f")]
        names = names[::-1] if backwards else names
        outcome = step(
            case.config, state, {name: params[name] for name in names}, {name: grads[name] for name in names}
        )
        params, state = {**params, **outcome.params}, outcome.state
    return replace(outcome, params=dict(params))


def same(left: Outcome, right: Outcome) -> bool:
    moments = [{f"{slot}/{name}": array for slot, name, array in outcome.state.arrays()} for outcome in (left, right)]
    params = same_bits(left.params, right.params)
    return params and same_bits(*moments) and left.state.counts == right.state.counts and left.metrics == right.metrics
