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


def test_what_no_request_can_have_is_refused(connect: Connect) -> None:
    client = connect("http://127.0.0.1:1")
    for dtype in ("int64", "complex64", "bool"):
        with pytest.raises(TypeError, match=r"'w' would have dtype .* expected one of float64, float32"):
            client.empty({"w": 2}, dtype)
    with pytest.raises(ValueError, match="expected lengths from 0 on"):
        client.empty({"w": (2, -1)})
    with pytest.raises(TypeError, match="integer"):
        client.empty({"w": (2.5,)})
    with pytest.raises(TypeError, match="shapes must be a dict"):
        client.empty([2])
