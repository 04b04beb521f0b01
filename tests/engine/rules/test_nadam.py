"""NAdam's product of momentum: one number for each tensor, kept because it is no function of the count."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from optim_engine import Config, State, reapply, step
from optim_engine.arrays import CHUNK
from optim_engine.machine import NUMPY, Machine
from tests import oracle_rules, oracle_tensors
from tests.engine.cases import Case, same_bits, tensors
from tests.engine.reported import Reported

BEFORE, AFTER = (Case("", "nadam", {"betas": [β1, 0.999]}) for β1 in (0.9, 0.5))


def test_the_product_goes_on_where_beta_was_changed() -> None:
    params, state = {"x": np.ones(3)}, State.empty()
    x, s = 1.0, oracle_tensors.Slots()
    for t, case in enumerate([BEFORE, BEFORE, AFTER, AFTER], start=1):
        outcome = step(case.config, state, params, {"x": np.full(3, 0.5)})
        params, state = outcome.params, outcome.state
        θ, g = (oracle_tensors.Tensor((1,), [value]) for value in (x, 0.5))
        (x,), s = oracle_tensors.step("nadam", case.settings_of("x"), t, 2e-3, θ, g, s)
    np.testing.assert_allclose(params["x"], x, rtol=1e-14)
    cases = enumerate([BEFORE, BEFORE, AFTER, AFTER], start=1)
    product = math.prod(oracle_rules.nadam_momentum(case.settings_of("x"), t) for t, case in cases)
    np.testing.assert_allclose(state.array("x", "mu_product"), product, rtol=1e-14)


def test_packed_tensors_of_one_count_keep_products_of_their_own() -> None:
    """One took its two updates before a change of beta, the other after it; then they are updated together."""
    both = {"a": np.ones(2), "b": np.ones(2)}
    state = State.empty()
    for case, name in [(BEFORE, "a"), (BEFORE, "a"), (AFTER, "b"), (AFTER, "b")]:
        state = step(case.config, state, {name: both[name]}, {name: both[name]}).state
    together = step(AFTER.config, state, both, both)
    for name, θ in both.items():
        alone = step(AFTER.config, state, {name: θ}, {name: θ})
        assert together.params[name].tobytes() == alone.params[name].tobytes()
        assert together.state.array(name, "mu_product") == alone.state.array(name, "mu_product")
    assert together.state.array("a", "mu_product") != together.state.array("b", "mu_product")


def test_the_product_is_float64_and_one_number_for_any_tensor() -> None:
    params = tensors(0, np.float16)
    state = step(Config.parse("nadam"), State.empty(), params, tensors(1, np.float16)).state
    assert {(state.array(name, "mu_product").dtype.name, state.array(name, "mu_product").shape) for name in params} == {
        ("float64", ())
    }


def test_threads_that_share_a_tensor_agree_on_its_product() -> None:
    shapes = {"w": (2 * CHUNK + 5,), "u": (CHUNK + 7,)}
    config = Config.parse("nadam", hold_params=False)
    params, grads = tensors(0, np.float32, shapes), tensors(1, np.float32, shapes)
    first = step(config, State.empty(), params, grads).state
    alone = step(config, first, params, grads)
    with ThreadPoolExecutor(3) as pool:
        together = step(config, first, params, grads, machine=Machine(NUMPY, 4, pool), filled=(reported := Reported()))
    reported.check(together.state.memory)
    assert together.state.memory.tobytes() == alone.state.memory.tobytes()
    assert same_bits(reapply(config, together.state, params, grads, clip_scale=1.0), alone.params)
