"""The exponentially weighted average: a true weighted mean from the first value on."""

import numpy as np
import pytest

from optim_engine import Average, Config, InvalidConfig, State, step


def test_the_first_value_is_its_own_average() -> None:
    average = Average.of_shape((2, 3), 0.9).advance(np.full((2, 3), 5.0))
    np.testing.assert_allclose(average.value(), np.full((2, 3), 5.0), rtol=1e-15)


@pytest.mark.parametrize("β", [0.0, 0.5, 0.9, 0.999])
def test_an_average_is_the_mean_with_weights_falling_by_β(β: float) -> None:
    values = np.random.default_rng(0).standard_normal((50, 4))
    average = Average.of_shape((4,), β)
    for t, x in enumerate(values, start=1):
        average = average.advance(x)
        weights = β ** np.arange(t - 1, -1, -1)
        np.testing.assert_allclose(average.value(), weights @ values[:t] / weights.sum(), rtol=1e-10)
    assert average.t == 50


def test_a_constant_stays_what_it_is() -> None:
    average = Average.of_shape((), 0.99)
    for _ in range(1000):
        average = average.advance(np.asarray(3.0))
        assert average.value() == pytest.approx(3.0, rel=1e-12)


def test_float32_values_are_averaged_in_float64() -> None:
    x = np.array([1.1, 2.2, 3.3], np.float32)
    average = Average.of_shape((3,), 0.9).advance(x).advance(x)
    np.testing.assert_allclose(average.value(), x.astype(np.float64), rtol=1e-15)


def test_advancing_an_average_changes_no_input() -> None:
    x = np.ones(2)
    x.flags.writeable = False
    first = Average.of_shape((2,), 0.5).advance(x)
    first.s.flags.writeable = False
    second = first.advance(x)
    assert (first.t, second.t) == (1, 2)
    assert first.s.tolist() == [0.5, 0.5]


def test_there_is_no_average_of_nothing() -> None:
    with pytest.raises(ValueError, match="the average of no values; advance it first"):
        Average.of_shape((2,), 0.9).value()


@pytest.mark.parametrize("β", [-0.1, 1.0, 1.5, float("nan")])
def test_a_factor_that_makes_no_mean_is_refused(β: float) -> None:
    with pytest.raises(InvalidConfig, match="is out of range: at least 0, below 1"):
        Average.of_shape((2,), β)


def test_a_value_of_another_shape_is_never_broadcast() -> None:
    with pytest.raises(ValueError, match=r"the average is of shape \(2, 3\), the array is of shape \(3,\)"):
        Average.of_shape((2, 3), 0.9).advance(np.ones(3))


def test_averaged_parameters_settle_where_noisy_ones_only_jump_around() -> None:
    """Minimise x² by gradients full of noise: the average of the iterates is nearer to 0 than they are."""
    rng = np.random.default_rng(0)
    config = Config.parse("sgd", hyperparameters={"lr": 0.3})
    params, state, average = {"x": np.ones(100)}, State.empty(), Average.of_shape((100,), 0.98)
    for _ in range(400):
        outcome = step(config, state, params, {"x": 2 * params["x"] + rng.standard_normal(100)})
        params, state = outcome.params, outcome.state
        average = average.advance(params["x"])
    assert np.abs(average.value()).mean() < np.abs(params["x"]).mean() / 3
