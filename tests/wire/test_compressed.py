"""Compressed gradients in a body: read as they came, and refused by name where their parts do not fit each other."""

from typing import Any

import numpy as np
import orjson
import pytest

from app.errors import MalformedBody, ServiceError, TensorMismatch
from app.wire.codecs import JSON, SAFETENSORS
from tests.service.calls import bits
from tests.wire import package
from tests.wire.steps import ONCE
from tests.wire.test_rows import LIMITS, RISING, from_binary

Q = np.ones(257, np.int8)


def test_indices_and_scales_are_read_beside_their_gradients() -> None:
    parts = {"grads/a": np.float16([1, 2]), "at/a": np.int64([0, 9]), "grads/b": Q, "scale/b": np.float32([1, 2])}
    request = from_binary({**parts, "grads/c": Q, "scale/c": np.array(0.5, np.float32)})
    assert request.is_compressed
    assert bits(request.at) == bits({"a": parts["at/a"]})
    assert bits(request.scale) == bits({"b": parts["scale/b"], "c": np.array(0.5, np.float32)})
    assert bits(request.grads) == bits({"a": parts["grads/a"], "b": Q, "c": Q})
    assert not from_binary({"grads/a": np.float32([1])}).is_compressed


def test_rows_may_come_in_int8() -> None:
    parts = {"grads/a": np.int8([[1, 2]]), "rows/a": np.int64([4]), "scale/a": np.float32([1])}
    request = from_binary(parts)
    assert (list(request.rows), list(request.scale)) == (["a"], ["a"])


def test_indices_of_elements_are_a_copy() -> None:
    body = bytearray(package.save({"grads/a": np.float32([1]), "at/a": np.int64([5])}, None))
    request = SAFETENSORS.read_step(memoryview(body), LIMITS, ONCE)
    body[:] = bytes(len(body))
    assert request.at["a"].tolist() == [5]


ONE, AT, SCALE = np.float32([1]), np.int64([1]), np.float32([1])
REFUSED: dict[str, tuple[dict[str, Any], type[ServiceError], str]] = {
    "both rows and elements": (
        {"grads/a": ONE, "at/a": AT, "rows/a": AT},
        TensorMismatch,
        "tensor 'a' has both rows and single elements: send one of them",
    ),
    "indices alone": (
        {"grads/b": ONE, "at/a": AT},
        TensorMismatch,
        "tensor 'a' has indices and no gradient: send grads/a too",
    ),
    "a gradient that is no list": (
        {"grads/a": np.float32([[1]]), "at/a": AT},
        TensorMismatch,
        "tensor 'a' has 1 indices, and a gradient of shape [1, 1]: send one element for each index",
    ),
    "an index twice": (
        {"grads/a": np.float32([1, 2]), "at/a": np.int64([3, 3])},
        MalformedBody,
        RISING.replace("rows/emb", "at/a").format("3 at [1] after 3"),
    ),
    "int8 alone": ({"grads/a": Q}, TensorMismatch, "tensor 'a' has an int8 gradient: send scale/a too"),
    "a scale alone": (
        {"grads/b": ONE, "scale/a": SCALE},
        TensorMismatch,
        "tensor 'a' has a scale and no gradient: scales are for int8",
    ),
    "a scale of floats": (
        {"grads/a": ONE, "scale/a": SCALE},
        TensorMismatch,
        "tensor 'a' has a scale and a gradient of float32: scales are for int8",
    ),
    "scales in rows": (
        {"grads/a": Q, "scale/a": np.float32([[1, 2]])},
        MalformedBody,
        "tensor 'scale/a' must be one flat list, and has 2 dimensions",
    ),
    "too many scales": (
        {"grads/a": Q, "scale/a": np.float32([1, 2, 3])},
        TensorMismatch,
        "tensor 'a' has 257 elements in int8 and 3 scales: send one, or 2, each for a block of 256 elements",
    ),
    "two scales for one block": (
        {"grads/a": np.ones(3, np.int8), "scale/a": np.float32([1, 2])},
        TensorMismatch,
        "tensor 'a' has 3 elements in int8 and 2 scales: send one",
    ),
    "no scale for elements": (
        {"grads/a": Q, "scale/a": np.float32([])},
        TensorMismatch,
        "tensor 'a' has 257 elements in int8 and 0 scales: send one, or 2, each for a block of 256 elements",
    ),
    "a scale in float64": (
        {"grads/a": Q, "scale/a": np.float64([1])},
        MalformedBody,
        "tensor 'scale/a' has the dtype 'F64'; expected one of F32",
    ),
    "a parameter in int8": (
        {"grads/a": ONE, "params/a": Q},
        MalformedBody,
        "tensor 'params/a' has the dtype 'I8': convert it to float32; expected one of F64, F32, F16, BF16",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_parts_that_do_not_fit_are_refused_by_name(wrong: str) -> None:
    tensors, error, message = REFUSED[wrong]
    with pytest.raises(error) as refusal:
        from_binary(tensors)
    assert refusal.value.detail == message


@pytest.mark.parametrize("tensor", [{"at": [1], "data": [1]}, {"scale": [1], "dtype": "int8", "data": [1]}])
def test_json_has_no_compressed_form(tensor: Any) -> None:
    with pytest.raises(MalformedBody, match="compressed gradients are read from safetensors alone"):
        JSON.read_step(orjson.dumps({"grads": {"a": tensor}}), LIMITS, ONCE)
