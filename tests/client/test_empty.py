"""Arrays made for gradients: their shapes, dtypes and order, over every transport."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from optim_client._empty import Plan
from optim_client._tensors import encode

from tests.client.conftest import Connect

SHAPES = {"w": (3, 4), "b": 5, "ä/ö": [2, 1, 2], "scale": (), "none": (0, 7)}
KINDS = {"w": "float32", "b": np.float16, "ä/ö": np.float64, "scale": ml_dtypes.bfloat16, "none": "f4"}


@pytest.mark.parametrize("dtype", ["float32", np.float64, KINDS])
def test_arrays_lie_as_a_request_has_them(dtype: Any) -> None:
    plan = Plan(SHAPES, dtype)
    memory = np.zeros(plan.before + plan.nbytes, np.uint8)
    arrays = plan.of(memory[plan.before :])
    for number, array in enumerate(arrays.values(), 1):
        array[...] = number
    header, *buffers = encode({"grads": arrays}, {"step": str(10**18), "lr": repr(1e-300), "loss": repr(1e-300)})
    assert b"".join(buffers) == memory[plan.before :].tobytes()
    assert len(header) <= plan.before
    assert plan.before % 4096 == 0
    assert [array.shape for array in arrays.values()] == [(3, 4), (5,), (2, 1, 2), (), (0, 7)]
    assert list(arrays) == list(SHAPES)


def test_the_header_of_many_tensors_has_room() -> None:
    plan = Plan({'\x00"ü' * 20 + str(number): (1,) * 32 for number in range(200)}, "float16")
    arrays = plan.of(np.empty(plan.nbytes, np.uint8))
    assert len(encode({"grads": arrays}, {"step": "1"})[0]) <= plan.before


def test_gradients_may_be_made_by_any_client(client: Any) -> None:
    session = client.sessions.create("sgd", lr=1.0)
    grads = client.empty({"w": 2, "b": (1, 1)}, {"w": "float32", "b": "float64"})
    grads["w"][:], grads["b"][:] = [1, 2], 3
    params = {"w": np.float32([5, 5]), "b": np.float64([[5]])}
    after = session.step(params, grads)
    assert {name: array.tolist() for name, array in after.items()} == {"w": [4.0, 3.0], "b": [[2.0]]}


@pytest.mark.parametrize("dtype", ["int64", "complex64", "bool", "float33", [1, 2]])
def test_a_dtype_that_no_request_can_have_is_refused(connect: Connect, dtype: Any) -> None:
    with pytest.raises(TypeError, match=r"'w' would have dtype .* expected one of float64, float32"):
        connect("http://127.0.0.1:1").empty({"w": 2}, dtype)


NO_SHAPE = "'w': a shape is an integer or a list of integers, .* name a tree's arrays by their paths, such as 'a/b'"


@pytest.mark.parametrize(
    ("shapes", "error", "words"),
    [
        ({"w": {"kernel": (2, 3)}}, TypeError, NO_SHAPE),
        ({"w": {1: 2}}, TypeError, NO_SHAPE),
        ({"w": [(2,), (3,)]}, TypeError, NO_SHAPE),
        ({"w": (2.5,)}, TypeError, NO_SHAPE),
        ({"w": None}, TypeError, NO_SHAPE),
        ({"w": "23"}, TypeError, NO_SHAPE),
        ({1: (2,)}, TypeError, "an array's name must be a string, not 1"),
        ({"w": (2, -1)}, ValueError, r"'w': a shape of \(2, -1\); expected lengths from 0 on"),
        ([2], TypeError, "shapes must be a dict"),
    ],
)
def test_a_shape_that_no_array_can_have_is_refused(
    connect: Connect, shapes: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        connect("http://127.0.0.1:1").empty(shapes)


def test_an_array_without_a_dtype_is_refused(connect: Connect) -> None:
    with pytest.raises(ValueError, match="'w' has no dtype: give one for each array, or one for all"):
        connect("http://127.0.0.1:1").empty({"w": 2, "b": 1}, {"b": "float32"})


def test_a_shape_may_be_made_of_numpy_integers() -> None:
    arrays = Plan({"w": np.int64(3), "b": np.array([2, 1])}, "float32").of(np.zeros(20, np.uint8))  # type: ignore[dict-item]
    assert {name: array.shape for name, array in arrays.items()} == {"w": (3,), "b": (2, 1)}
