"""A gradient that is NaN or infinite: refused with its place, or skipped; either way nothing moves."""

import gc
import weakref
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, NonFinite, State, step
from optim_engine.arrays import Array
from tests.engine.cases import OWN_GROUPS, each_dtype, same_bits, tensors

SETTINGS: dict[str, Any] = {
    "schedule": {"kind": "linear_warmup", "warmup_steps": 10},
    "groups": OWN_GROUPS,
    "clip": {"global_norm": 1.0},
}


def spoiled(grads: dict[str, Array], tensor: str, index: tuple[int, ...], value: float) -> dict[str, Array]:
    bad = grads[tensor].copy()
    bad[index] = value
    return {**grads, tensor: bad}


@each_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_gradient_is_refused_with_tensor_and_index(dtype: type[Any], value: float) -> None:
    grads = spoiled(tensors(1, dtype), "layer.weight", (2, 1), value)
    with pytest.raises(NonFinite) as refused:
        step(Config.parse("adamw", **SETTINGS), State.empty(), tensors(0, dtype), grads)
    assert (refused.value.tensor, refused.value.index) == ("layer.weight", (2, 1))
    assert str(refused.value) == (
        f"gradient of tensor 'layer.weight' is {value} at [2, 1]; nothing was changed: lower the learning rate, clip, "
        "or create the session with on_non_finite 'skip'"
    )


def test_the_first_bad_element_is_found_by_name_then_index() -> None:
    grads = spoiled(tensors(1, np.float32), "layer.weight", (0, 3), np.nan)
    grads = spoiled(spoiled(grads, "layer.weight", (1, 0), np.inf), "layer.bias", (3,), np.nan)
    for order in (grads, dict(reversed(grads.items()))):
        with pytest.raises(NonFinite, match=r"^gradient of tensor 'layer.bias' is nan at \[3\]"):
            step(Config.parse("sgd"), State.empty(), tensors(0, np.float32), order)


def test_the_index_of_a_single_number_is_empty() -> None:
    grads = spoiled(tensors(1, np.float32), "gain", (), np.inf)
    with pytest.raises(NonFinite, match=r"^gradient of tensor 'gain' is inf at \[\]"):
        step(Config.parse("sgd"), State.empty(), tensors(0, np.float32), grads)


def test_a_nan_is_found_in_late_blocks_and_transposed_arrays() -> None:
    grads = {"w": np.zeros((500, 1000), np.float32)}
    grads["w"][499, 7] = np.nan
    with pytest.raises(NonFinite, match=r"at \[499, 7\]"):
        step(Config.parse("sgd"), State.empty(), grads, grads)
    with pytest.raises(NonFinite, match=r"at \[7, 499\]"):
        step(Config.parse("sgd"), State.empty(), {"w": grads["w"].T}, {"w": grads["w"].T})


@each_dtype
def test_skipping_moves_neither_count_nor_moments_nor_schedule(dtype: type[Any]) -> None:
    config = Config.parse("adamw", on_non_finite="skip", **SETTINGS)
    params, good = tensors(0, dtype), [tensors(t, dtype) for t in (1, 2)]
    first = step(config, State.empty(), params, good[0])
    skipped = step(config, first.state, first.params, spoiled(good[1], "gain", (), np.nan))
    assert skipped.skipped
    assert skipped.state is first.state
    assert same_bits(skipped.params, first.params)
    assert (skipped.metrics.update_norm, skipped.metrics.clip_scale) == (0.0, 1.0)
    assert skipped.metrics.lr == 2 * first.metrics.lr
    assert np.isnan(skipped.metrics.grad_norm)
    after, unbroken = (step(config, state, first.params, good[1]) for state in (skipped.state, first.state))
    assert same_bits(after.params, unbroken.params)
    assert after.metrics == unbroken.metrics
    assert after.state.t == 2


def test_a_skipped_first_step_leads_to_the_empty_state() -> None:
    config = Config.parse("adamw", on_non_finite="skip")
    params = tensors(0, np.float32)
    skipped = step(config, State.empty(), params, spoiled(tensors(1, np.float32), "gain", (), np.nan))
    assert (skipped.state.t, skipped.state.entries, skipped.state.counts) == (0, {}, {})
    assert same_bits(skipped.params, params)


def test_a_skipped_first_step_leaves_its_parameters_held() -> None:
    config = Config.parse("adamw", on_non_finite="skip", hold_params=True)
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    skipped = step(config, State.empty(), params, spoiled(grads, "gain", (), np.nan))
    assert (skipped.skipped, skipped.state.t, set(skipped.state.counts.values())) == (True, 0, {0})
    assert same_bits(skipped.state.held(), params)
    after = step(config, skipped.state, {}, grads)
    assert same_bits(after.params, step(Config.parse("adamw"), State.empty(), params, grads).params)


def test_a_parameter_that_is_not_finite_is_the_users_own() -> None:
    params = spoiled(tensors(0, np.float32), "layer.bias", (1,), np.nan)
    after = step(Config.parse("adamw"), State.empty(), params, tensors(1, np.float32)).params
    assert np.isnan(after["layer.bias"]).tolist() == [False, True, False, False]
    assert np.isfinite(after["layer.weight"]).all()


@pytest.mark.parametrize("clip", [None, {"global_norm": 1.0}])
def test_a_refusal_keeps_no_gradient_until_a_collection(clip: Any) -> None:
    gc.disable()
    try:
        grads = {"w": np.full(3, np.nan)}
        gradient = weakref.ref(grads["w"])
        with suppress(NonFinite):
            step(Config.parse("sgd", clip=clip), State.empty(), {"w": np.ones(3)}, grads)
        del grads
        assert gradient() is None
    finally:
        gc.enable()
