"""Trees of arrays, as JAX and Flax have them, and gradients that are missing."""

import collections
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from optim_client._trees import flattened, rebuilt

from tests.client.conftest import Connect


class Layer(NamedTuple):
    kernel: Any
    bias: Any


class Frozen(collections.UserDict[str, Any]):
    """A mapping of its own type that wraps a dictionary, as Flax's FrozenDict."""


class Array:
    """An array of another library, which NumPy can read and which is no list."""

    def __init__(self, values: Any) -> None:
        self._values = np.float32(values)

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self._values


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


TREES: dict[str, tuple[Any, list[str]]] = {
    "flat": ({"w": ones(2), "b": ones()}, ["w", "b"]),
    "nested": (
        {"params": {"Dense_0": {"kernel": ones(2, 2), "bias": ones(2)}}},
        ["params/Dense_0/kernel", "params/Dense_0/bias"],
    ),
    "lists": ({"layers": [{"w": ones(2)}, {"w": ones(3)}]}, ["layers/0/w", "layers/1/w"]),
    "a list of tuples": ([(ones(2), ones(1)), (), (ones(3), ones(1))], ["0/0", "0/1", "2/0", "2/1"]),
    "named tuples": (
        (Layer(ones(2), ones(1)), [Layer(ones(2), ones(1))]),
        ["0/kernel", "0/bias", "1/0/kernel", "1/0/bias"],
    ),
    "whole numbers": ({0: {7: ones(2)}}, ["0/7"]),
    "a mapping of its own type": (Frozen({"a": Frozen({"w": ones(2)})}), ["a/w"]),
    "others' arrays": ({"a": [Array([1, 2]), Array([3, 4])]}, ["a/0", "a/1"]),
    "deep": ({"a": {"b": {"c": {"d": {"e": [ones(1)]}}}}}, ["a/b/c/d/e/0"]),
}


def structure(tree: Any) -> Any:
    """Return the types and keys of a tree, without its leaves."""
    if isinstance(tree, collections.abc.Mapping):
        return type(tree), {key: structure(child) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree), [structure(child) for child in tree]
    return "leaf"


@pytest.mark.parametrize("name", TREES)
def test_an_array_is_named_by_its_path(name: str) -> None:
    tree, names = TREES[name]
    assert list(flattened("params", tree)) == names


@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_rebuilt_with_its_types_and_keys(name: str) -> None:
    tree, names = TREES[name]
    seen: list[str] = []
    again = rebuilt(tree, lambda leaf, old: seen.append(leaf))
    assert structure(again) == structure(tree)
    assert seen == names


@pytest.mark.parametrize("name", TREES)
def test_a_step_answers_a_tree_of_the_same_structure(connect: Connect, name: str) -> None:
    tree, names = TREES[name]
    session = connect("memory:").sessions.create("sgd", lr=0.5)
    after = tree
    for _ in range(2):
        after = session.step(after, tree)
    assert structure(after) == structure(tree)
    before, stepped = flattened("", tree), flattened("", after)
    for leaf in names:
        assert np.array_equal(stepped[leaf], np.asarray(before[leaf]) * np.float32(0)), leaf
    assert sorted(session.get().tensors) == sorted(names)


def test_a_session_holds_a_tree(connect: Connect) -> None:
    tree, _ = TREES["lists"]
    session = connect("memory:").sessions.create("sgd", lr=0.5, hold_params=True)
    session.put_params(tree)
    after = session.step(grads=tree)
    held = session.params(like=tree)
    assert structure(after) == structure(held) == structure(tree)
    assert session.params().keys() == {"layers/0/w", "layers/1/w"}
    assert np.array_equal(held["layers"][1]["w"], np.float32([0.5] * 3))


def test_a_mapping_that_cannot_be_made_again_becomes_a_dictionary() -> None:
    made = rebuilt(collections.defaultdict(dict, {"a": {"w": ones(2)}}), lambda _, old: old)
    assert type(made) is dict
    assert list(made["a"]) == ["w"]
    assert type(rebuilt(types.MappingProxyType({"w": ones(1)}), lambda _, old: old)) is types.MappingProxyType


@pytest.mark.parametrize(
    "tree", [{"a/b": ones(1), "a": {"b": ones(1)}}, {"1": ones(1), 1: ones(1)}, {"a": {"0": ones(1)}, "a/0": ones(2)}]
)
def test_two_arrays_of_one_name_are_refused(tree: Any) -> None:
    with pytest.raises(ValueError, match="grads has two arrays named"):
        flattened("grads", tree)


@pytest.mark.parametrize("key", [("a", "b"), 1.5, None, True])
def test_a_key_that_is_no_name_is_refused(key: Any) -> None:
    with pytest.raises(TypeError, match="a key in a tree must be a string or an integer, not"):
        flattened("grads", {key: ones(1)})


@pytest.mark.parametrize("bare", [ones(3), 1.0, [1.0, 2.0], "w"])
def test_an_array_without_a_name_is_refused(bare: Any) -> None:
    with pytest.raises(TypeError, match="params must be a mapping of names to arrays, or a tree"):
        flattened("params", bare)


@pytest.mark.parametrize("value", [[1.0, 2.0], [[1.0], [2.0]], (1.0, 2.0), [np.float32(1)], 1.0])
def test_numbers_in_lists_are_an_array(value: Any) -> None:
    assert flattened("params", {"w": value}) == {"w": value}


def test_an_unknown_leaf_is_named(connect: Connect) -> None:
    session = connect("memory:").sessions.create("sgd")
    with pytest.raises(TypeError, match=r"grads\['a/w'\] has dtype object, because it is PosixPath"):
        session.step(grads={"a": {"w": Path("/")}})


def test_a_tensor_that_requires_grad_says_how_to_pass_it(connect: Connect) -> None:
    class Attached:
        requires_grad = True

    session = connect("memory:").sessions.create("sgd")
    with pytest.raises(TypeError, match=r"params\['w'\] requires grad.*\.detach\(\)"):
        session.step({"w": Attached()}, {"w": ones(2)})


@pytest.mark.parametrize("hold", [False, True])
def test_a_parameter_without_a_gradient_stays_as_it_is(connect: Connect, hold: bool) -> None:
    session = connect("memory:").sessions.create("adamw", lr=0.5, hold_params=hold, groups=[])
    params = {"used": ones(2), "frozen": ones(2), "left": ones(2), "counts": np.arange(3)}
    if hold:
        session.put_params({name: params[name] for name in ("used", "frozen", "left")})
    for grads in ({"used": ones(2), "frozen": None}, {"used": ones(2)}):
        after = session.step(None if hold else params, grads)
        assert not np.array_equal(after["used"], params["used"])
        if hold:
            assert list(after) == list(grads)
            assert after.get("frozen") is None
        else:
            assert list(after) == list(params)
            assert all(after[name] is params[name] for name in ("frozen", "left", "counts"))
    assert list(session.get().tensors) == (["frozen", "left", "used"] if hold else ["used"])
    assert session.info.tensors["used"].step == 2


def test_a_none_in_both_trees_stays_none(connect: Connect) -> None:
    session = connect("memory:").sessions.create("sgd")
    after = session.step([{"w": ones(1), "b": None}, None], [{"w": ones(1), "b": None}, None])
    assert structure(after) == structure([{"w": 0, "b": 0}, 0])
    assert (after[0]["b"], after[1]) == (None, None)


@pytest.mark.parametrize("grads", [{}, [], {"w": None}, {"a": {"w": None}, "b": []}])
def test_a_step_without_any_gradient_is_refused(connect: Connect, grads: Any) -> None:
    session = connect("memory:").sessions.create("sgd")
    with pytest.raises(ValueError, match=r"step\(\) has no gradient"):
        session.step({"w": ones(1)}, grads)


def test_a_gradient_without_a_parameter_is_named_by_the_service(connect: Connect) -> None:
    session = connect("memory:").sessions.create("sgd")
    with pytest.raises(Exception, match="tensor 'a/w'"):
        session.step({"a": {"b": ones(1)}}, {"a": {"b": ones(1), "w": ones(1)}})
