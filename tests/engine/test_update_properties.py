"""Properties of every optimizer for all numbers, which Hypothesis tries to refute."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optim_engine import OPTIMIZERS, Config, Outcome, State, step
from optim_engine.arrays import Array
from optim_engine.rule import Unit
from tests.engine.cases import RULES, Case
from tests.examples import examples
from tests.oracle_defaults import DEFAULTS

History = tuple[Array, list[Array]]

elementwise = st.sampled_from(
    [case for case in RULES if case.config.rule_of(None).unit_of(case.config.hyperparameters) is Unit.BLOCK]
)
climbing = st.sampled_from([case for case in RULES if "maximize" in DEFAULTS[case.optimizer]])
adaptive = st.sampled_from(["adam", "adamw", "rmsprop"])


def all_but(*names: str) -> st.SearchStrategy[Case]:
    """Draw a case that has none of these names, and none of these optimizers."""
    return st.sampled_from([case for case in RULES if not {case.name, case.optimizer} & {*names}])


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw a parameter vector and the gradients of a few steps."""
    size, steps = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    vector = hnp.arrays(np.float32, size, elements=st.floats(-100, 100, width=32))
    return draw(vector), [draw(vector) for _ in range(steps)]


def last(config: Config, params: dict[str, Array], grads: list[dict[str, Array]]) -> Outcome:
    state = State.empty()
    for g in grads:
        outcome = step(config, state, params, g)
        params, state = outcome.params, outcome.state
    return outcome


def result(case: Case, history: History, **changed: Any) -> Array:
    """Return the vector after those steps, by the case's settings but for the changed ones."""
    params, grads = history
    config = Config.parse(case.optimizer, hyperparameters={**case.hyperparameters, **changed})
    outcome = last(config, {"x": case.shaped(params)}, [{"x": case.shaped(g)} for g in grads])
    return outcome.params["x"].reshape(params.shape)


def scaled(history: History, exponent: int) -> History:
    """Return the gradients times a power of two, which is exact unless they or their squares are subnormal."""
    params, grads = history
    assume(all((np.abs(g[g != 0]) > 1e-10).all() for g in grads))
    return params, [np.ldexp(g, exponent) for g in grads]


def test_every_optimizer_is_among_the_cases() -> None:
    assert {case.optimizer for case in RULES} == set(OPTIMIZERS)


@examples(quick=40, whole=500)
@given(elementwise, histories(), st.randoms(use_true_random=False))
def test_elements_do_not_know_their_neighbours(case: Case, history: History, random: Any) -> None:
    params, grads = history
    order = random.sample(range(len(params)), len(params))
    shuffled = result(case, (params[order], [g[order] for g in grads]))
    np.testing.assert_array_equal(shuffled, result(case, history)[order])


@examples(quick=40, whole=500)
@given(elementwise, histories(), st.integers(0, 6))
def test_a_tensor_split_in_two_has_the_same_elements(case: Case, history: History, at: int) -> None:
    params, grads = history
    parts = last(case.config, {"a": params[:at], "b": params[at:]}, [{"a": g[:at], "b": g[at:]} for g in grads]).params
    np.testing.assert_array_equal(np.concatenate([parts["a"], parts["b"]]), result(case, history))


@examples(quick=40, whole=500)
@given(climbing, histories())
@pytest.mark.long
def test_to_maximize_is_to_minimize_the_negative(case: Case, history: History) -> None:
    params, grads = history
    turned = result(case, (params, [-g for g in grads]), maximize=not case.hyperparameters.get("maximize", False))
    np.testing.assert_array_equal(turned, result(case, history))


@examples(quick=40, whole=500)
@given(all_but("yogi"), histories())
def test_mirrored_inputs_have_mirrored_results(case: Case, history: History) -> None:
    """Not of Yogi: its first moment does not start at 0."""
    params, grads = history
    np.testing.assert_array_equal(result(case, (-params, [-g for g in grads])), -result(case, history))


@examples(quick=40, whole=500)
@given(all_but("rprop", "lion_decoupled_decay"), histories())
def test_a_learning_rate_of_zero_moves_nothing(case: Case, history: History) -> None:
    """Not of Rprop, whose steps have a lower bound; Lion's decay apart from lr needs one."""
    np.testing.assert_array_equal(result(case, history, lr=0), history[0])


@examples(quick=40, whole=500)
@given(all_but("yogi", "asgd"), histories())
def test_gradients_of_zero_move_nothing_where_nothing_decays(case: Case, history: History) -> None:
    """Not of Yogi, whose first moment does not start at 0, nor of ASGD, which has a decay of its own."""
    params, grads = history
    np.testing.assert_array_equal(result(case, (params, [0 * g for g in grads]), weight_decay=0), params)


@examples(quick=40, whole=500)
@given(adaptive, histories(), st.integers(-8, 8))
def test_adaptive_rules_do_not_see_the_size_of_gradients(optimizer: str, history: History, exponent: int) -> None:
    case = Case("", optimizer, {"eps": 0})
    np.testing.assert_array_equal(result(case, scaled(history, 2 * exponent)), result(case, history))


@examples(quick=40, whole=500)
@given(histories(), st.integers(-8, 8), st.sampled_from([0.0, 0.5, 0.9]))
def test_sgd_is_linear_in_its_gradients(history: History, exponent: int, momentum: float) -> None:
    case = Case("", "sgd", {"momentum": momentum})
    steeper = result(case, scaled(history, exponent), lr=1)
    np.testing.assert_array_equal(steeper, result(case, history, lr=2.0**exponent))


@examples(quick=40, whole=500)
@given(st.sampled_from(["adam", "adamw"]), hnp.arrays(np.float64, 5, elements=st.floats(1e-3, 1e3)), st.floats(1e-4, 1))
def test_the_first_update_of_adam_is_the_learning_rate(optimizer: str, g: Array, lr: float) -> None:
    case = Case("", optimizer, {"lr": lr, "eps": 0, "weight_decay": 0})
    np.testing.assert_allclose(result(case, (np.zeros(5), [g])), np.full(5, -lr), rtol=1e-12)


@examples(quick=40, whole=500)
@given(histories(), st.floats(0.01, 100))
def test_clipped_gradients_have_at_most_the_norm_given(history: History, largest: float) -> None:
    params, grads = history
    config = Config.parse("sgd", hyperparameters={"lr": 1}, clip={"global_norm": largest})
    metrics = last(config, {"x": params.astype(np.float64)}, [{"x": g.astype(np.float64)} for g in grads]).metrics
    assert metrics.grad_norm * metrics.clip_scale <= largest
    assert metrics.update_norm <= largest * (1 + 1e-9) + 1e-12
