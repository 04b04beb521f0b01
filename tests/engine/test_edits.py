"""Edits of tensors: other names, forgotten, begun anew; and the next step is that of the state that it comes to."""

import numpy as np
import pytest

from optim_engine import Config, Edits, State, TensorMismatch, step
from optim_engine.arrays import Array, Arrays
from tests.engine.cases import HOLD, RULES, Case, one_cell_each

SIZES = {"a": (3, 2), "b": (3, 2), "c": (5,), "d": ()}


def arrays(seed: int, names: dict[str, tuple[int, ...]] | None = None) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {name: np.asarray(random.standard_normal(shape), np.float32) for name, shape in (names or SIZES).items()}


def shaped(case: Case, arrays: Arrays) -> dict[str, Array]:
    return {name: case.shaped(array) for name, array in arrays.items()}


def trained(config: Config, hold: bool = False, steps: int = 3) -> State:
    case = Case("", config.optimizer)
    state, params = State.empty(), shaped(case, arrays(0))
    for seed in range(1, steps + 1):
        outcome = step(config, state, {} if hold and seed > 1 else params, shaped(case, arrays(seed)))
        state, params = outcome.state, outcome.params
    return state


def kept(state: State) -> dict[str, tuple[int, dict[str, bytes]]]:
    """Return each tensor's count and bytes by slot."""
    found: dict[str, tuple[int, dict[str, bytes]]] = {name: (state.counts[name], {}) for name in state.entries}
    for slot, tensor, array in state.arrays():
        found[tensor][1][slot] = array.tobytes()
    return found


@one_cell_each("case, hold", RULES, HOLD)
def test_renamed_tensors_go_on_as_they_would_have(case: Case, hold: bool) -> None:
    config = Config.parse(case.optimizer, hyperparameters=case.hyperparameters, hold_params=hold)
    old = trained(config, hold)
    names = {"a": "b", "b": "a", "c": "new"}
    new = Edits(rename=names).apply(old)
    assert kept(new) == {names.get(name, name): value for name, value in kept(old).items()}
    assert list(new.entries) == ["b", "a", "new", "d"]
    grads, params = shaped(case, arrays(7)), {} if hold else shaped(case, arrays(8))
    expected = step(config, old, params, grads)

    def renamed(tensors: Arrays) -> dict[str, Array]:
        return {names.get(name, name): array for name, array in tensors.items()}

    outcome = step(config, new, renamed(params), renamed(grads))
    assert {name: array.tobytes() for name, array in outcome.params.items()} == {
        name: array.tobytes() for name, array in renamed(expected.params).items()
    }


def test_names_that_go_round_a_circle_come_back() -> None:
    old = trained(Config.parse("adamw"))
    once = Edits(rename={"a": "b", "b": "c", "c": "d", "d": "a"})
    new = once.apply(once.apply(once.apply(once.apply(old))))
    assert kept(new) == kept(old)
    assert new.memory.tobytes() == old.memory.tobytes()
    assert list(new.entries) == list(old.entries)


@pytest.mark.parametrize("hold", [False, True])
def test_a_removed_tensor_may_return_in_another_shape(hold: bool) -> None:
    config = Config.parse("adamw", hold_params=hold)
    old = trained(config, hold)
    new = Edits(remove=["a", "d"]).apply(old)
    assert kept(new) == {name: value for name, value in kept(old).items() if name in "bc"}
    grown = {"a": np.ones((4, 2), np.float32)}
    outcome = step(config, new, grown, grown)
    fresh = step(config, State.empty(), grown, grown)
    assert (outcome.state.t, outcome.state.counts["a"]) == (4, 1)
    assert outcome.params["a"].tobytes() == fresh.params["a"].tobytes()


def test_a_reset_tensor_keeps_its_parameter_and_counts_from_one() -> None:
    config = Config.parse("adamw", hold_params=True)
    old = trained(config, hold=True)
    new = Edits(reset=["a"]).apply(old)
    assert kept(new)["a"] == (0, {"params": kept(old)["a"][1]["params"]})
    assert {name: kept(new)[name] for name in "bcd"} == {name: kept(old)[name] for name in "bcd"}
    grads = {"a": arrays(9)["a"]}
    outcome = step(config, new, {}, grads)
    fresh = step(config, State.empty(), {"a": old.array("a", "params")}, grads)
    assert outcome.params["a"].tobytes() == fresh.params["a"].tobytes()
    assert outcome.state.counts["a"] == 1


def test_a_reset_tensor_without_held_parameter_keeps_only_its_shape() -> None:
    config = Config.parse("adamw")
    new = Edits(reset=["a"]).apply(trained(config))
    assert kept(new)["a"] == (0, {})
    with pytest.raises(TensorMismatch, match=r"float32 \[3, 2\]: send it so, or PATCH …/tensors with `remove`"):
        step(config, new, {"a": np.ones(3, np.float32)}, {"a": np.ones(3, np.float32)})


def test_a_removed_tensor_s_name_is_free() -> None:
    old = trained(Config.parse("adamw"))
    new = Edits(rename={"a": "b"}, remove=["b"], reset=["c"]).apply(old)
    assert list(new.entries) == ["b", "c", "d"]
    assert kept(new)["b"] == kept(old)["a"]


def test_everything_may_go() -> None:
    new = Edits(remove=list(SIZES)).apply(trained(Config.parse("adamw")))
    assert (new.t, dict(new.entries), new.memory.nbytes) == (3, {}, 0)


def test_nothing_is_the_same_state() -> None:
    old = trained(Config.parse("adamw"))
    for edits in (Edits(), Edits(rename={"a": "a"})):
        new = edits.apply(old)
        assert (kept(new), new.memory.tobytes()) == (kept(old), old.memory.tobytes())


REFUSED: list[tuple[Edits, str, str]] = [
    (Edits(rename={"x": "y"}), "x", "cannot be renamed, because the session has no such tensor"),
    (Edits(remove=["x"]), "x", "cannot be removed, because the session has no such tensor"),
    (Edits(reset=["x"]), "x", "cannot be reset, because the session has no such tensor"),
    (Edits(remove=["a", "a"]), "a", "is named twice, to be removed and to be removed: name it once"),
    (Edits(remove=["a"], reset=["a"]), "a", "is named twice, to be removed and to be reset"),
    (Edits(rename={"a": "x"}, remove=["a"]), "a", "is named twice, to be renamed and to be removed"),
    (Edits(rename={"a": "x"}, reset=["a"]), "a", "is named twice, to be renamed and to be reset"),
    (Edits(rename={"a": "x"}, reset=["x"]), "x", "no such tensor"),
    (Edits(rename={"a": "b"}), "b", "would be the name of two tensors, 'a' and 'b'"),
    (Edits(rename={"a": "x", "b": "x"}), "x", "would be the name of two tensors, 'a' and 'b'"),
]


@pytest.mark.parametrize(("edits", "tensor", "words"), REFUSED)
def test_edits_that_cannot_be_meant_are_refused(edits: Edits, tensor: str, words: str) -> None:
    old = trained(Config.parse("adamw"))
    before = kept(old)
    with pytest.raises(TensorMismatch) as raised:
        edits.apply(old)
    assert raised.value.tensor == tensor
    assert words in str(raised.value)
    assert kept(old) == before
