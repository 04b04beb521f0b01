"""The equations of the fused kernel, one element at a time, against those of the rules' own files."""

from typing import Any

import numpy as np
import pytest

from optim_engine import fused
from optim_engine.fused_forms import has_loop
from optim_engine.fused_rules import EQUATIONS
from optim_engine.sums import chunks_of
from optim_engine.walk import Update, Vectors, update_blocks
from tests.engine.cases import ALL, Case

EDGES = [0.0, -0.0, 1e-40, -1e-20, 0.1, -3.0, 1e18, -1e30, np.inf, np.nan]


@pytest.mark.parametrize("case", [case for case in ALL if has_loop(case.config.hyperparameters)], ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("t", [1, 2])
def test_every_value_beside_every_other_has_the_bits_of_numpy(case: Case, dtype: Any, t: int) -> None:
    h, rule = case.config.hyperparameters, case.config.rule_of(None)
    g, θ, first, second = (x.ravel() for x in np.meshgrid(EDGES[:8], EDGES, EDGES, np.abs(EDGES[:8])))
    chosen = {"params": θ, "m": first, "v": second, "v_max": second[::-1].copy(), "b": first[::-1].copy()}
    old = {slot: chosen[slot].astype(dtype) for slot in ("params", *rule.slots(h, (1,)))}
    (chunk,) = chunks_of([1000] * (len(g) // 1000) + [len(g) % 1000])
    found = []
    for function in (update_blocks, fused.update_blocks):
        new = {slot: np.empty(len(g), dtype) for slot in old}
        with np.errstate(all="ignore"):
            function(Update(rule, h, t, 0.01, 1.0, None, (len(g),)), Vectors(g.astype(dtype), old, new), chunk)
        found.append({slot: x.view(f"u{x.itemsize}") for slot, x in new.items()})
    for slot, x in found[0].items():
        assert np.array_equal(x, found[1][slot]), slot


def test_each_rule_of_the_table_is_tried() -> None:
    assert set(EQUATIONS) == {"adam", "sgd", "rmsprop"}
