"""Checks: a tensor that does not fit is refused, with its name, what was expected and what came."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, State, TensorMismatch, step
from optim_engine.arrays import Array

A, B = np.ones((2, 3), np.float32), np.ones(4, np.float32)
KNOWN = "the session has it as float32 [2, 3]: send it so, or PATCH …/tensors with `remove` first, and it begins anew"
OTHER_DTYPE = (
    "the session has it as float32 [2, 3]: convert it to float32; to change its dtype, PATCH …/tensors with `remove` "
    "first, and it begins anew"
)
UNSUPPORTED = "convert it to float32; expected one of float64, float32, float16, bfloat16"


def refused(params: Mapping[str, Array], grads: Mapping[str, Array], *, held: Mapping[str, Array] | None = None) -> Any:
    """Return the refusal of a step after one that knew tensor `a`, as a state of its own or of parameters held."""
    config = Config.parse("adamw", hold_params=held is not None)
    state = (
        State.empty().with_params(held) if held is not None else step(config, State.empty(), {"a": A}, {"a": A}).state
    )
    before = state.memory.tobytes()
    with pytest.raises(TensorMismatch) as refusal:
        step(config, state, params, grads)
    assert state.memory.tobytes() == before
    return refusal.value


@pytest.mark.parametrize(
    ("params", "grads", "message"),
    [
        ({}, {}, "a step needs at least one gradient"),
        ({"a": A}, {}, "a step needs at least one gradient"),
        ({}, {"a": A}, "tensor 'a' has a gradient and no parameter: send its parameter too"),
        (
            {"a": A},
            {"a": A.T},
            f"tensor 'a': the gradient is float32 [3, 2], {KNOWN}",
        ),
        ({"a": A}, {"a": A[0]}, f"tensor 'a': the gradient is float32 [3], {KNOWN}"),
        (
            {"a": A},
            {"a": A.astype(np.float16)},
            f"tensor 'a': the gradient is float16 [2, 3], {OTHER_DTYPE}",
        ),
        ({"a": A.T}, {"a": A}, "tensor 'a': the parameter is float32 [3, 2], its gradient is float32 [2, 3]"),
        (
            {"a": A.astype(np.float64)},
            {"a": A},
            (
                "tensor 'a': the parameter is float64 [2, 3], its gradient is float32 [2, 3]: convert the parameter to "
                "float32"
            ),
        ),
        (
            {"a": A, "b": B},
            {"a": A},
            "tensor 'b' has a parameter and no gradient: omit it, or send its gradient",
        ),
        ({"b": B[1:]}, {"b": B}, "tensor 'b': the parameter is float32 [3], its gradient is float32 [4]"),
        (
            {"b": B.astype(int)},
            {"b": B},
            "tensor 'b': the parameter is int64 [4], its gradient is float32 [4]: convert the parameter to float32",
        ),
        (
            {"b": B},
            {"b": B.astype(float)},
            "tensor 'b': the parameter is float32 [4], its gradient is float64 [4]: convert the gradient to float32",
        ),
        (
            {"b": B.astype(float)},
            {"b": B.astype(np.float16)},
            (
                "tensor 'b': the parameter is float64 [4], its gradient is float16 [4]: convert the parameter and the "
                "gradient to float32"
            ),
        ),
        ({"b": B.astype(int)}, {"b": B.astype(int)}, f"tensor 'b' has the dtype <i8: {UNSUPPORTED}"),
        ({"b": B.astype(complex)}, {"b": B.astype(complex)}, f"tensor 'b' has the dtype <c16: {UNSUPPORTED}"),
        ({"b": B.astype(">f4")}, {"b": B.astype(">f4")}, f"tensor 'b' has the dtype >f4: {UNSUPPORTED}"),
        ({"b": B.astype(bool)}, {"b": B.astype(bool)}, f"tensor 'b' has the dtype |b1: {UNSUPPORTED}"),
    ],
)
def test_a_step_whose_tensors_do_not_fit_is_refused(
    params: Mapping[str, Array], grads: Mapping[str, Array], message: str
) -> None:
    assert str(refused(params, grads)) == message


@pytest.mark.parametrize(
    ("params", "grads", "message"),
    [
        (
            {"a": A},
            {"a": A},
            "tensor 'a': the session holds this parameter: send only its gradient, or PUT …/params",
        ),
        ({}, {"b": B}, "tensor 'b' has a gradient and no parameter: send its parameter too, or PUT …/params first"),
        ({}, {"a": A[0]}, f"tensor 'a': the gradient is float32 [3], {KNOWN}"),
        ({"b": B[1:]}, {"b": B, "a": A}, "tensor 'b': the parameter is float32 [3], its gradient is float32 [4]"),
    ],
)
def test_a_step_that_does_not_fit_held_parameters_is_refused(
    params: Mapping[str, Array], grads: Mapping[str, Array], message: str
) -> None:
    assert str(refused(params, grads, held={"a": A})) == message


def test_a_refused_gradient_is_what_came() -> None:
    refusal = refused({"b": B}, {"b": B.astype(float)})
    assert (refusal.expected, refusal.got) == ("float32 [4]", "float64 [4]")
    refusal = refused({"b": B.astype(float)}, {"b": B})
    assert (refusal.expected, refusal.got) == ("float32 [4]", "float64 [4]")


def test_parameters_to_hold_must_have_the_known_shape_and_dtype() -> None:
    state = State.empty().with_params({"a": A})
    with pytest.raises(TensorMismatch, match=r"the parameter is float32 \[3, 2\], the session has it as"):
        state.with_params({"a": A.T})
    with pytest.raises(TensorMismatch, match="has the dtype <i8"):
        state.with_params({"b": B.astype(int)})


def test_what_a_tensor_is_stays_known_while_it_is_away() -> None:
    config = Config.parse("adamw")
    state = step(config, State.empty(), {"a": A}, {"a": A}).state
    state = step(config, state, {"b": B}, {"b": B}).state
    with pytest.raises(TensorMismatch, match=r"tensor 'a': the gradient is float64 \[2, 3\], the session has it as"):
        step(config, state, {"a": A.astype(np.float64)}, {"a": A.astype(np.float64)})


@pytest.mark.parametrize(
    ("optimizer", "groups", "before", "pattern"),
    [
        ("muon", None, "", "b"),
        ("muon", None, "", "layers[0].b*"),
        ("adamw", [{"match": ["*"], "optimizer": "muon"}], " before groups[0], which it is in", "b"),
    ],
)
def test_a_refused_tensor_is_told_the_group_to_write(optimizer: str, groups: Any, before: str, pattern: str) -> None:
    tensors, escaped = {"a": A, pattern: B}, pattern.replace("*", "[*]").replace("[0", "[[]0")
    group = {"match": [escaped], "optimizer": "adamw"}
    with pytest.raises(TensorMismatch) as refusal:
        step(Config.parse(optimizer, groups=groups), State.empty(), tensors, tensors)
    words = f"has the shape [4]; muon updates matrices only: write a group for it{before}, such as {json.dumps(group)}"
    assert (refusal.value.tensor, str(refusal.value)) == (pattern, f"tensor {pattern!r} {words}")
    mended = Config.parse(optimizer, groups=[group, *(groups or [])])
    assert step(mended, State.empty(), tensors, tensors).state.t == 1


@pytest.mark.parametrize("hold", [False, True], ids=["sent", "held"])
def test_a_step_with_the_same_names_is_checked_again(hold: bool) -> None:
    """A step like one that passed is let through quickly; these are like one but for a detail."""
    config = Config.parse("adamw", hold_params=hold)
    x = {"a": np.ones(3, np.float32), "b": np.ones(2, np.float32)}
    state = step(config, State.empty(), x, x).state
    sent = {} if hold else x
    for _ in range(2):
        state = step(config, state, sent, x).state
    longer, wider = {**x, "b": np.ones(4, np.float32)}, {**x, "b": np.ones(2, np.float64)}
    wrong = [(sent, longer), (sent, wider), ({**sent, "c": x["a"]}, x)]
    wrong += [(x, x)] if hold else [(longer, x), (wider, x), ({"a": x["a"]}, x), ({}, x), (longer, longer)]
    for params, grads in wrong:
        with pytest.raises(TensorMismatch):
            step(config, state, params, grads)
    assert step(config, state, sent, x).state.t == 4
