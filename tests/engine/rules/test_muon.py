"""Muon: what it takes, what its iteration gives, and how its step is scaled."""

import numpy as np
import pytest

from optim_engine import Config, State, TensorMismatch, step
from optim_engine.arrays import Array


def moved(g: Array, **settings: object) -> Array:
    """Return what a first step at a learning rate of 1 takes from parameters of zero."""
    config = Config.parse("muon", hyperparameters={"lr": 1, "weight_decay": 0, **settings})
    return -step(config, State.empty(), {"x": np.zeros_like(g)}, {"x": g}).params["x"]


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4)])
def test_a_tensor_that_is_no_matrix_is_refused(shape: tuple[int, ...]) -> None:
    tensors = {"w": np.ones((2, 2)), "other": np.ones(shape)}
    with pytest.raises(TensorMismatch, match=r"tensor 'other' has the shape .*; muon updates matrices") as refused:
        step(Config.parse("muon"), State.empty(), tensors, tensors)
    assert refused.value.tensor == "other"


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (1, 7), (7, 1)])
def test_the_singular_values_of_a_step_are_about_one(shape: tuple[int, ...]) -> None:
    g = np.random.default_rng(0).standard_normal(shape)
    scale = np.sqrt(max(1, shape[0] / shape[1]))
    values = np.linalg.svd(moved(g) / scale, compute_uv=False)
    assert (values > 0.5).all()
    assert (values < 1.3).all()


def test_classic_coefficients_come_to_the_nearest_orthogonal_matrix() -> None:
    g = np.random.default_rng(0).standard_normal((4, 6))
    u, _, v = np.linalg.svd(g, full_matrices=False)
    np.testing.assert_allclose(moved(g, ns_coefficients=[1.875, -1.25, 0.375], ns_steps=40), u @ v, atol=1e-12)


def test_a_transposed_gradient_moves_the_transposed_way() -> None:
    g = np.random.default_rng(0).standard_normal((4, 6))
    tall, wide = (moved(x, adjust_lr_fn="match_rms_adamw") for x in (g.T.copy(), g))
    np.testing.assert_allclose(tall.T, wide, rtol=1e-12)


def test_biases_decay_unless_groups_say_otherwise() -> None:
    assert Config.parse("muon").groups == ()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 2)])
def test_a_gradient_of_nothing_moves_nothing(shape: tuple[int, ...]) -> None:
    assert not moved(np.zeros(shape)).any()
