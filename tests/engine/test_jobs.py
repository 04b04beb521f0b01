"""The jobs of a step: `filled` reports each byte of the next state once, when it is final."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optim_engine import Config, NonFinite, Outcome, State, arrays, step
from optim_engine.arrays import Array
from tests.engine.cases import ALL, DTYPES, SHAPES, Case
from tests.engine.reported import Reported
from tests.examples import examples

FLOATS = {f"{name}.{dtype}": (shape, dtype) for name, shape in SHAPES.items() for dtype in DTYPES}
FLOATS |= {"big.weight": ((9, 23), "float32"), "empty": ((0, 4), "float64")}


def some(case: Case, seed: int, names: set[str]) -> dict[str, Array]:
    return {
        name: case.tensors(seed, DTYPES[dtype], {name: shape})[name]
        for name, (shape, dtype) in FLOATS.items()
        if name in names
    }


def held(config: Config, params: Mapping[str, Array], state: State) -> dict[str, Array]:
    """Return the parameters to send: those that the state does not hold."""
    return {n: θ for n, θ in params.items() if not (config.hold_params and n in state.entries)}


@examples(quick=40, whole=2000)
@given(
    st.sampled_from(ALL),
    st.booleans(),
    st.lists(st.sets(st.sampled_from(sorted(FLOATS)), min_size=1), min_size=1, max_size=4),
)
def test_every_byte_is_reported_once_and_final(case: Case, hold: bool, named: list[set[str]]) -> None:
    """Also of tensors that a step does not name, of gaps, of packs that stand apart, and where the layout changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("optim_engine.plan.PACK_BELOW", 100)
        patch.setattr("optim_engine.sums.SMALL", 100)
        patch.setattr(arrays, "CHUNK", 60)
        patch.setattr(arrays, "BLOCK", 20)
        config, state = Config.parse(**{**case.config.to_dict(), "hold_params": hold}), State.empty()
        for t, names in enumerate(named):
            reported = Reported()
            state = step(
                config, state, held(config, some(case, 0, names), state), some(case, t + 1, names), filled=reported
            ).state
            reported.check(state.memory)


def test_a_big_tensor_is_reported_one_mebibyte_at_a_time() -> None:
    config, size = Config.parse("adamw"), 3 * arrays.CHUNK + 5
    params = {"w": np.ones(size, np.float32)}
    state = step(config, State.empty(), params, params).state
    reported = Reported()
    after = step(config, state, params, params, filled=reported).state
    reported.check(after.memory)
    assert max(end - start for start, end in reported.ranges) == 1 << 20
    m = [start for start, _ in reported.ranges if start < 4 * size]
    assert len(m) == 4


def test_a_skipped_step_tells_nothing() -> None:
    assert _with_nan("skip", reported := Reported()).skipped
    assert reported.ranges == []


def test_a_refused_step_leaves_the_state_as_it_was() -> None:
    with pytest.raises(NonFinite):
        _with_nan("reject", Reported())


def _with_nan(on_non_finite: str, reported: Reported) -> Outcome:
    config, ones = Config.parse("adamw", on_non_finite=on_non_finite), {"x": np.ones(3, np.float32)}
    state = step(config, State.empty(), ones, ones).state
    before = state.memory.tobytes()
    try:
        return step(config, state, ones, {"x": np.float32([1, np.nan, 1])}, filled=reported)
    finally:
        assert state.memory.tobytes() == before
