"""Tensors written as JSON in each form."""

from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest

from app.wire import codec, json_forms
from app.wire.codec import Limits
from app.wire.codecs import JSON
from app.wire.json_forms import members
from tests.service.calls import bits

LIMITS = Limits(max_tensors=3, max_name_length=8)
SHAPES = [(), (0,), (1,), (7,), (2, 3), (3, 1, 5), (1, 12), (12, 1), (2, 0), (0, 2), (2, 2, 2, 2)]


def written(array: np.ndarray[Any, Any], form: str) -> Any:
    return orjson.loads(b"".join(members({"w": array}, {"w": form}, {})))["w"]


def read(tensor: Any) -> np.ndarray[Any, Any]:
    return JSON.read_params(orjson.dumps({"params": {"w": tensor}}), LIMITS)["w"]


@pytest.mark.parametrize("view", ["transposed", "strided", "reversed", "broadcast"])
@pytest.mark.parametrize("form", ["list", "data", "base64"])
def test_a_non_contiguous_array_is_written_in_c_order(view: str, form: str) -> None:
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    views = {"transposed": base.T, "strided": base[:, ::2], "reversed": base[::-1]}
    array = {**views, "broadcast": np.broadcast_to(base[0], (2, 4))}[view]
    assert bits({"w": read(written(array, form))}) == bits({"w": array})


def test_a_signalling_nan_is_no_reason_for_a_warning() -> None:
    nan = np.array([0x7F81], np.uint16).view(ml_dtypes.bfloat16)
    assert bits({"w": read(written(nan, "data"))}) == bits({"w": nan})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["list", "data", "base64"])
def test_a_value_that_json_lacks_is_written_in_base64(value: float, form: str) -> None:
    tensor = written(np.array([value, 1], np.float32), form)
    assert tensor.keys() == {"dtype", "shape", "base64"}
    assert np.array_equal(read(tensor), np.array([value, 1], np.float32), equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("part", [1, 2, 5, 1 << 15])
def test_tensors_are_written_in_parts_as_they_are_whole(
    shape: tuple[int, ...], dtype: Any, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    whole = JSON.write_params({"w": array, "x": array})
    monkeypatch.setattr(json_forms, "LARGEST_PART", part)
    monkeypatch.setattr(codec, "JOINED", part)
    parts = JSON.write_params({"w": array, "x": array})
    assert b"".join(parts) == b"".join(whole)
    assert bits(JSON.read_params(b"".join(parts), LIMITS)) == bits({"w": array, "x": array})
