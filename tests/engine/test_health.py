"""The norms and zeros of a state's tensors, on demand, against NumPy and against each tensor alone."""

import math
import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, State, arrays, held_params, step
from optim_engine.arrays import Array
from optim_engine.health import Health, health_of
from optim_engine.machine import Machine
from tests import oracle
from tests.engine.cases import HOLD, RULES, SHAPES, WITH_LARGE, Case, each_dtype, one_cell_each
from tests.engine.row_cases import config_of, drawn, table

SLOTS = {"adan": ("m", "n")}
"""The first and second moment where they have other names than `m` and `v`."""


def norm(x: Array) -> float:
    return float(np.linalg.norm(x.astype(np.float64).reshape(-1)))


def norm_of(state: State, tensor: str, slot: str) -> Any:
    """Return about the norm of a slot; `None` if the tensor has no such slot."""
    has = slot in state.entries[tensor].slots
    return pytest.approx(norm(state.array(tensor, slot)), rel=1e-6) if has else None


def stepped(case: Case, hold: bool, dtype: type[Any], shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> State:
    config = Config.parse(**{**case.config.to_dict(), "hold_params": hold})
    state, params = State.empty(), case.tensors(0, dtype, shapes)
    for t in range(1, 4):
        outcome = step(config, state, {} if hold and t > 1 else params, case.tensors(t, dtype, shapes))
        state, params = outcome.state, {**outcome.params}
    return state


@one_cell_each("case, hold", RULES, HOLD)
def test_norms_are_numpys_for_every_rule(case: Case, hold: bool) -> None:
    state = stepped(case, hold, np.float32, WITH_LARGE)
    first, second = SLOTS.get(case.optimizer, ("m", "v"))
    found = health_of(case.config, state)
    for tensor in state.entries:
        expected = [norm_of(state, tensor, slot) for slot in ("params", first, second)]
        assert [norms.get(tensor) for norms in (found.param_norms, found.m_norms, found.v_norms)] == expected
    assert found.zero_shares == (dict.fromkeys(state.entries, 0.0) if hold else {})


@each_dtype
def test_packed_small_tensors_have_the_defined_sums(dtype: type[Any]) -> None:
    shapes = {f"t{i}": (i % 7, i % 5) for i in range(300)}
    state = stepped(Case("", "adam"), True, dtype, shapes)
    found = health_of(Config.parse("adam"), state)
    single = np.dtype(dtype).itemsize < 8
    for tensor in shapes:
        θ, m = (state.array(tensor, name).astype(np.float64).reshape(-1).tolist() for name in ("params", "m"))
        squares = [oracle.square_sum(x, single=single) for x in (θ, m)]
        assert [found.param_norms[tensor], found.m_norms[tensor]] == [math.sqrt(x) for x in squares]


def test_threads_and_packs_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    state = stepped(Case("", "adamw"), True, np.float32, {**WITH_LARGE, "b": (700, 1000)})
    config = Config.parse("adamw")
    alone = health_of(config, state)
    with ThreadPoolExecutor(3) as pool:
        assert health_of(config, state, Machine(threads=4, pool=pool)) == alone
    monkeypatch.setattr("optim_engine.health.LARGEST_PACK", 5)
    assert health_of(config, state) == alone


def test_the_share_of_zeros_counts_both_signs() -> None:
    params = {"a": np.array([0.0, -0.0, 1.0, 1e-45], np.float32), "b": np.zeros(40_000), "none": np.zeros((0, 3))}
    found = health_of(Config.parse("sgd"), State.empty().with_params(params))
    assert found.zero_shares == {"a": 0.5, "b": 1.0}
    assert (found.param_norms["b"], found.param_norms["none"], found.m_norms) == (0.0, 0.0, {})


@pytest.mark.parametrize("value", [1e-200, 1e200, np.inf, np.nan])
@pytest.mark.parametrize("count", [3, 300_000])
def test_norms_out_of_the_range_of_squares_are_right(value: float, count: int) -> None:
    found = health_of(Config.parse("sgd"), State.empty().with_params({"x": np.full(count, value)})).param_norms["x"]
    assert found == pytest.approx(value * count**0.5, rel=1e-12, abs=0, nan_ok=True)


@pytest.mark.parametrize("block", [7, 60, arrays.BLOCK])
def test_the_decay_of_lazy_rows_is_caught_up(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where blocks cut rows."""
    config = config_of(Case("adamw", "adamw", {"lr": 0.1, "weight_decay": 0.5}), "lazy")
    state = step(config, State.empty(), {"emb": table(0)}, {"emb": table(1)}).state
    for t in range(2, 5):
        rows, g = drawn(t)
        state = step(config, state, {}, {"emb": g}, rows={"emb": rows}).state
    if block < arrays.BLOCK:
        monkeypatch.setattr("optim_engine.sums.SMALL", 1)
        monkeypatch.setattr("optim_engine.health.SMALL", 1)
        monkeypatch.setattr(arrays, "CHUNK", block)
    settled = held_params(state, {"emb": None})["emb"]
    assert health_of(config, state).param_norms["emb"] == pytest.approx(norm(settled), rel=1e-6)
    assert norm(settled) != pytest.approx(norm(state.array("emb", "params")), rel=1e-3)


def test_a_large_session_takes_the_memory_of_some_blocks() -> None:
    config, size = Config.parse("sgd", hyperparameters={"momentum": 0.9}, hold_params=True), 8_000_000
    state = State.empty().with_params({"w": np.zeros(size)})
    state = step(config, state, {}, {"w": np.full(size, 1e-200)}).state
    tracemalloc.start()
    found = health_of(config, state)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.m_norms["w"] == pytest.approx(1e-200 * size**0.5, rel=1e-9, abs=0)
    assert peak < state.memory.nbytes / 8


def test_a_state_without_tensors_has_no_health() -> None:
    assert health_of(Config.parse("adam"), State.empty()) == Health({}, {}, {}, {})
