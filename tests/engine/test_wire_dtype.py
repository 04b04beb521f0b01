"""Steps with a wire dtype: arrays travel in halves, the state holds float32, and the answer is rounded."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optim_engine import Config, NonFinite, State, TensorMismatch, step
from optim_engine.arrays import CHUNK, Array, Arrays
from optim_engine.machine import Machine
from optim_engine.plan import PACK_BELOW
from tests.engine.cases import ALL, DTYPES, KERNELS, RULES, Case, each_machine, one_cell_each, same_bits, tensors
from tests.examples import examples

WIRE = ("bfloat16", "float16")
each_wire_dtype = pytest.mark.parametrize("wire", WIRE)


def configs(case: Case, wire: str, **around: Any) -> tuple[Config, Config]:
    """Return a configuration with the wire dtype, and one without."""
    plain = replace(case.config, hold_params=True, **around)
    return replace(plain, wire_dtype=wire), plain


def session(wire: str, **settings: Any) -> Config:
    return Config.parse("adamw", hold_params=True, wire_dtype=wire, **settings)


def shaped(case: Case, arrays: Arrays) -> dict[str, Array]:
    return {name: case.shaped(array) for name, array in arrays.items()}


def cast(arrays: Arrays, dtype: str, names: Iterable[str] | None = None) -> dict[str, Array]:
    """Return the arrays, with those of the names in that dtype."""
    chosen = set(arrays if names is None else names)
    with np.errstate(over="ignore"):
        return {name: x.astype(DTYPES[dtype]) if name in chosen else x for name, x in arrays.items()}


@one_cell_each("case, wire, machine", ALL, {wire: wire for wire in WIRE}, KERNELS)
def test_a_step_widens_gradients_and_rounds_its_answer_once(case: Case, machine: Machine, wire: str) -> None:
    wired, plain = configs(case, wire)
    state = same = State.empty()
    for t in range(1, 6):
        params, grads = case.tensors(0, np.float32) if t == 1 else {}, cast(case.tensors(t, np.float32), wire)
        outcome = step(wired, state, params, grads, machine=machine)
        expected = step(plain, same, params, cast(grads, "float32"), machine=machine)
        assert same_bits(outcome.params, cast(expected.params, wire))
        assert outcome.state.memory.tobytes() == expected.state.memory.tobytes()
        assert outcome.metrics == expected.metrics
        state, same = outcome.state, expected.state
    assert {entry.spec.dtype.name for entry in state.entries.values()} == {"float32"}


@st.composite
def runs(draw: st.DrawFn) -> tuple[dict[str, Array], list[tuple[dict[str, Array], set[str]]]]:
    """Draw parameters, and some steps' gradients with the names of those that come in halves."""
    shapes = draw(st.dictionaries(st.sampled_from("abcdef"), hnp.array_shapes(min_dims=0, max_side=3), min_size=1))
    values = st.floats(-1000, 1000, width=16)
    params = {name: draw(hnp.arrays(np.float32, shape, elements=values)) for name, shape in shapes.items()}
    some = st.sets(st.sampled_from(sorted(shapes)), min_size=1)
    steps = []
    for named in [set(shapes), *draw(st.lists(some, max_size=3))]:
        grads = {name: draw(hnp.arrays(np.float32, shapes[name], elements=values)) for name in sorted(named)}
        steps.append((grads, draw(some) & named))
    return params, steps


@examples(quick=40, whole=1000)
@given(st.sampled_from(RULES), st.sampled_from(WIRE), st.sampled_from([None, 0.5]), runs())
@pytest.mark.long
def test_some_tensors_may_come_in_halves_and_others_not(
    case: Case, wire: str, clip: float | None, run: tuple[dict[str, Array], list[tuple[dict[str, Array], set[str]]]]
) -> None:
    clipped = Config.parse("adamw", clip=clip and {"global_norm": clip}).clip
    wired, plain = configs(case, wire, clip=clipped)
    params, steps = shaped(case, run[0]), [(shaped(case, grads), halves) for grads, halves in run[1]]
    state = same = State.empty()
    for grads, halves in steps:
        sent = cast(grads, wire, halves)
        outcome = step(wired, state, params, sent)
        expected = step(plain, same, params, cast(sent, "float32"))
        assert same_bits(outcome.params, cast(expected.params, wire, halves))
        assert same_bits(outcome.state.held(), expected.state.held())
        assert outcome.state.counts == expected.state.counts
        params, state, same = {}, outcome.state, expected.state


@each_machine
def test_a_tensor_of_several_chunks_is_rounded_as_a_whole(machine: Machine) -> None:
    shapes = {"big": (CHUNK + 5,), "also": (PACK_BELOW, 2), "small": (7,)}
    params, grads = tensors(0, np.float32, shapes), cast(tensors(1, np.float32, shapes), "bfloat16")
    outcome = step(session("bfloat16"), State.empty(), params, grads, machine=machine)
    expected = step(Config.parse("adamw"), State.empty(), params, cast(grads, "float32"))
    assert same_bits(outcome.params, cast(expected.params, "bfloat16"))
    assert same_bits(outcome.state.held(), expected.params)


def test_the_answer_is_rounded_to_nearest_even() -> None:
    θ = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20], np.float32)
    frozen = session("bfloat16", hyperparameters={"lr": 0})
    outcome = step(frozen, State.empty(), {"x": θ}, cast({"x": np.ones(3, np.float32)}, "bfloat16"))
    assert outcome.params["x"].astype(np.float64).tolist() == [1, 1 + 2**-6, 1 + 2**-7]
    assert outcome.state.held()["x"].tolist() == θ.tolist()


@each_machine
def test_an_answer_beyond_float16_is_infinite_but_held_finite(machine: Machine) -> None:
    θ = {"x": np.array([65504, 65519, 65520, -1e6], np.float32)}
    for wire, expected in (("float16", [65504, 65504, np.inf, -np.inf]), ("bfloat16", [65536, 65536, 65536, -999424])):
        grads = cast({"x": np.ones(4, np.float32)}, wire)
        outcome = step(session(wire, hyperparameters={"lr": 0}), State.empty(), θ, grads, machine=machine)
        assert outcome.params["x"].astype(np.float64).tolist() == expected
        assert same_bits(outcome.state.held(), θ)


@each_wire_dtype
def test_parameters_in_the_wire_dtype_are_held_as_float32(wire: str) -> None:
    params, grads = cast(tensors(0, np.float32), wire), tensors(1, np.float32)
    with_step = step(session(wire), State.empty(), params, cast(grads, wire))
    put = State.empty().with_params(params, wire)
    assert same_bits(put.held(), cast(params, "float32"))
    again = step(session(wire), State.empty().with_params(tensors(9, np.float32)).with_params(params, wire), {}, grads)
    for state in (with_step.state, step(session(wire), put, {}, cast(grads, wire)).state, again.state):
        assert {entry.spec.dtype.name for entry in state.entries.values()} == {"float32"}
    exact = step(Config.parse("adamw"), State.empty(), cast(params, "float32"), grads)
    assert same_bits(again.params, exact.params)


def test_the_wire_dtype_leaves_other_dtypes_alone() -> None:
    dtypes = ["float64", "float16"]
    for t, dtype in enumerate(dtypes):
        params, grads = tensors(t, DTYPES[dtype]), tensors(t + 2, DTYPES[dtype])
        outcome = step(session("bfloat16"), State.empty(), params, grads)
        expected = step(Config.parse("adamw", hold_params=True), State.empty(), params, grads)
        assert same_bits(outcome.params, expected.params)
        assert outcome.state.entries == expected.state.entries


def test_a_state_that_holds_the_wire_dtype_keeps_it() -> None:
    """Step on from a state that was made without the setting and uploaded."""
    params, grads = (tensors(t, DTYPES["bfloat16"]) for t in (0, 1))
    state = State.empty().with_params(params)
    outcome = step(session("bfloat16"), state, {}, grads)
    assert same_bits(outcome.params, step(Config.parse("adamw"), State.empty(), params, grads).params)
    assert same_bits(outcome.state.with_params(params, "bfloat16").held(), params)


def test_a_gradient_in_a_third_dtype_is_refused() -> None:
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    state = State.empty().with_params(params)
    for wrong in ("float64", "float16"):
        with pytest.raises(TensorMismatch, match=rf"the gradient is {wrong} \[\], .* as float32 \[\]"):
            step(session("bfloat16"), state, {}, cast(grads, wrong, ["gain"]))
        with pytest.raises(TensorMismatch, match=rf"the parameter is float32 \[\], its gradient is {wrong} \[\]"):
            step(session("bfloat16"), State.empty(), params, cast(grads, wrong, ["gain"]))
    with pytest.raises(TensorMismatch, match="the gradient is float16"):
        step(session("float16"), state, {}, {"gain": np.array(1, ">f2")})
    with pytest.raises(TensorMismatch, match=r"the gradient is bfloat16 \[1\], .* as float32 \[\]"):
        step(session("bfloat16"), state, {}, cast(grads | {"gain": np.ones(1, np.float32)}, "bfloat16"))


def test_halves_are_refused_without_the_setting() -> None:
    state, grads = State.empty().with_params(tensors(0, np.float32)), cast(tensors(1, np.float32), "bfloat16")
    state = step(session("bfloat16"), state, {}, grads).state
    step(session("bfloat16"), state, {}, grads)
    with pytest.raises(TensorMismatch, match="the gradient is bfloat16"):
        step(Config.parse("adamw", hold_params=True), state, {}, grads)


@pytest.mark.parametrize("put_before", [False, True])
def test_a_skipped_step_answers_the_held_parameters_rounded(put_before: bool) -> None:
    params, grads = tensors(0, np.float32), cast(tensors(1, np.float32), "bfloat16", ["gain", "layer.bias"])
    state = State.empty().with_params(params) if put_before else State.empty()
    bad = grads | {"gain": np.array(np.inf, grads["gain"].dtype)}
    outcome = step(session("bfloat16", on_non_finite="skip"), state, {} if put_before else params, bad)
    assert outcome.skipped
    assert same_bits(outcome.params, cast(params, "bfloat16", ["gain", "layer.bias"]))
    assert same_bits(outcome.state.held(), params)
    with pytest.raises(NonFinite, match="gain"):
        step(session("bfloat16"), state, {} if put_before else params, bad)


@each_machine
@each_wire_dtype
def test_non_finite_values_give_no_warning_in_any_thread(machine: Machine, wire: str) -> None:
    size = 8 * CHUNK
    signalling = np.full(size, 0x7F800001, np.uint32).view(np.float32)
    for held in (np.full(size, 3.4e38, np.float32), signalling):
        state = State.empty().with_params({"x": held})
        with ThreadPoolExecutor(2) as pool:
            frozen = session(wire, hyperparameters={"lr": 0})
            grads = {"x": np.ones(size, DTYPES[wire])}
            outcome = step(frozen, state, {}, grads, machine=Machine(machine.kernel, 3, pool))
        assert not np.isfinite(outcome.params["x"]).any()


def trained(wire: str | None) -> float:
    """Return the loss of a network of one hidden layer on a curve, after 300 steps on the answered parameters."""
    x = np.linspace(-2, 2, 64, dtype=np.float32)[:, None]
    y, draw = np.sin(2 * x), np.random.default_rng(0).standard_normal
    params: Mapping[str, Array] = {
        "w1": draw((1, 16), np.float32), "b1": draw(16, np.float32), "w2": draw((16, 1), np.float32) / 4,
    }  # fmt: skip
    config = Config.parse("adamw", hyperparameters={"lr": 0.01}, hold_params=True, wire_dtype=wire)
    state = State.empty().with_params(params)
    for _ in range(300):
        hidden = np.tanh(x @ params["w1"] + params["b1"])
        error = (hidden @ params["w2"] - y) * (2 / len(x))
        back = error @ params["w2"].T * (1 - hidden**2)
        grads = {"w1": x.T @ back, "b1": back.sum(0), "w2": hidden.T @ error}
        outcome = step(config, state, {}, cast(grads, wire) if wire else grads)
        state, params = outcome.state, cast(outcome.params, "float32")
    return float(((np.tanh(x @ params["w1"] + params["b1"]) @ params["w2"] - y) ** 2).mean())


@each_wire_dtype
def test_a_network_learns_as_well_with_half_the_bytes(wire: str) -> None:
    assert trained(None) < 0.01
    assert trained(wire) < 0.01
