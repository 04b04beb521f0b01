"""Adafactor: a matrix's second moment is kept as the means of its rows and columns, in an order that is defined."""

from typing import Any

import numpy as np
import pytest

from optim_engine import Config, State, arrays, step
from tests import oracle_tensors
from tests.engine.cases import Case

SHAPES = [(3, 4), (2, 3, 4), (2, 2, 3, 2), (1, 5), (5, 1), (4,), (), (130, 40), (40, 130)]


def stepped(shape: tuple[int, ...], dtype: Any = np.float64, **settings: Any) -> State:
    random = np.random.default_rng(0)
    θ, g = (np.asarray(random.standard_normal(shape)).astype(dtype) for _ in range(2))
    return step(Config.parse("adafactor", hyperparameters=settings), State.empty(), {"x": θ}, {"x": g}).state


@pytest.mark.parametrize("shape", SHAPES)
def test_every_tensor_of_two_dimensions_is_factored(shape: tuple[int, ...]) -> None:
    entry = stepped(shape).entries["x"]
    if len(shape) < 2:
        assert entry.slots == ("v",)
    else:
        assert {slot: entry.shape_of(slot) for slot in entry.slots} == {
            "v_row": shape[:-1],
            "v_col": (*shape[:-2], shape[-1]),
        }


@pytest.mark.parametrize("shape", SHAPES)
def test_three_steps_are_those_of_the_oracle(shape: tuple[int, ...]) -> None:
    case, state, s = Case("", "adafactor", {"weight_decay": 0.1}), State.empty(), oracle_tensors.Slots()
    random = np.random.default_rng(1)
    params = {"x": np.asarray(random.standard_normal(shape))}
    θ = params["x"].reshape(-1).tolist()
    for t in range(1, 4):
        g = np.asarray(random.standard_normal(shape))
        outcome = step(case.config, state, params, {"x": g})
        params, state = outcome.params, outcome.state
        second = (oracle_tensors.Tensor(shape, values) for values in (θ, g.reshape(-1).tolist()))
        θ, s = oracle_tensors.step("adafactor", case.settings_of("x"), t, 0.01, *second, s)
    np.testing.assert_allclose(params["x"].reshape(-1), θ, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("block", [7, 100, 1 << 17])
@pytest.mark.parametrize("shape", [(130, 40), (40, 130), (200, 3), (3, 200), (300, 1), (2, 30, 20)])
def test_the_means_are_float64_sums_in_order_to_the_bit(
    shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the blocks that they are made in: as the page says, and the oracle does."""
    monkeypatch.setattr(arrays, "BLOCK", block)
    g = np.random.default_rng(2).standard_normal(shape)
    state = step(Config.parse("adafactor"), State.empty(), {"x": g}, {"x": g}).state
    means = oracle_tensors.square_means(oracle_tensors.Tensor(shape, g.reshape(-1).tolist()))
    for slot, expected in means.items():
        assert state.array("x", slot).reshape(-1).tolist() == expected


def test_the_state_of_a_matrix_has_only_rows_and_columns() -> None:
    assert stepped((1000, 500), np.float32).layout.nbytes < 4 * (1000 + 500) + 64


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_a_tensor_without_elements_is_stepped_without_warnings(shape: tuple[int, ...]) -> None:
    assert all(np.isfinite(array).all() for _, _, array in stepped(shape).arrays())


def test_gradients_next_to_nothing_leave_no_second_moment_of_zero() -> None:
    """The product of a row's mean and a column's leaves float32; the row's by their mean does not."""
    g = np.full((4, 4), 1e-12, np.float32)
    config = Config.parse("adafactor", hyperparameters={"eps": [1e-30, 1e-3], "lr": 1})
    θ = step(config, State.empty(), {"x": np.ones((4, 4), np.float32)}, {"x": g}).params["x"]
    np.testing.assert_allclose(θ, 0, atol=1e-6)
