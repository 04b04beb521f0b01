"""The rows of sparse gradients, in both forms: read, refused by name, and answered in the form of the request."""

import json
from base64 import b64encode
from typing import Any

import numpy as np
import orjson
import pytest

from app.errors import MalformedBody, ServiceError, TensorMismatch
from app.session import DTYPES
from app.step import StepRequest
from app.wire.codec import Codec, Limits
from app.wire.codecs import JSON, SAFETENSORS
from tests.service.calls import bits
from tests.wire import package
from tests.wire.steps import ONCE, answer_of

LIMITS = Limits(max_tensors=3, max_name_length=64)
ROWS = [3, 17]
VALUES = [[0.5, -1.0], [2.0, 0.25]]
TEXT = b64encode(np.float32(VALUES).tobytes()).decode()
FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "lists": ({"rows": ROWS, "data": VALUES}, "float32"),
    "lists with a dtype": ({"rows": ROWS, "dtype": "float64", "data": VALUES}, "float64"),
    "flat data": ({"rows": ROWS, "dtype": "float16", "shape": [2, 2], "data": [*VALUES[0], *VALUES[1]]}, "float16"),
    "base64": ({"rows": ROWS, "dtype": "float32", "shape": [2, 2], "base64": TEXT}, "float32"),
}


def from_json(tensor: Any, beside: int = 0) -> StepRequest:
    """Read a step with that gradient, and with spaces that make the body longer."""
    return JSON.read_step(orjson.dumps({"grads": {"emb": tensor}}) + b" " * beside, LIMITS, ONCE)


def from_binary(tensors: dict[str, Any]) -> StepRequest:
    return SAFETENSORS.read_step(package.save(tensors, None), LIMITS, ONCE)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("beside", [0, 1 << 16], ids=["small", "large"])
def test_rows_are_answered_in_the_form_that_they_came_in(form: str, beside: int) -> None:
    tensor, dtype = FORMS[form]
    request = from_json(tensor, beside)
    assert request.rows["emb"].dtype == np.int64
    assert request.rows["emb"].tolist() == ROWS
    assert bits(request.grads) == bits({"emb": np.array(VALUES, dtype)})
    answer = answer_of(request.grads, rows=request.rows)
    assert orjson.loads(b"".join(JSON.write_answer(answer, request.forms)))["params"] == {"emb": tensor}


def test_many_rows_are_read_from_a_large_body() -> None:
    rows = np.cumsum(np.arange(1, 20_001))
    request = from_json({"rows": rows.tolist(), "data": [[i] for i in range(20_000)]})
    assert np.array_equal(request.rows["emb"], rows)
    answer = answer_of(request.grads, rows=request.rows)
    again = orjson.loads(b"".join(JSON.write_answer(answer, request.forms)))["params"]["emb"]
    assert again == {"rows": rows.tolist(), "data": request.grads["emb"].tolist()}


def test_binary_rows_come_back_aligned_beside_their_parameters() -> None:
    tensors = {"grads/emb": np.float32([[1.0], [2.0]]), "rows/emb": np.int64([0, 4]), "grads/w": np.float32([3.0])}
    request = from_binary(tensors)
    assert bits(request.rows) == bits({"emb": np.int64([0, 4])})
    body = b"".join(SAFETENSORS.write_answer(answer_of(request.grads, rows=request.rows), {}))
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    assert header["rows/emb"]["data_offsets"] == [0, 16]
    assert bits(package.load(body)) == bits({name.replace("grads", "params"): x for name, x in tensors.items()})


def test_the_forms_of_request_and_answer_may_differ() -> None:
    request = from_binary({"grads/emb": np.float64([[0.5]]), "rows/emb": np.int64([7])})
    written = b"".join(JSON.write_answer(answer_of(request.grads, rows=request.rows), request.forms))
    assert orjson.loads(written)["params"] == {"emb": {"rows": [7], "dtype": "float64", "data": [[0.5]]}}
    request = from_json({"rows": [7], "data": [[0.5]]})
    body = b"".join(SAFETENSORS.write_answer(answer_of(request.grads, rows=request.rows), {}))
    assert bits(package.load(body)) == bits({"params/emb": np.float32([[0.5]]), "rows/emb": np.int64([7])})


def test_rows_that_json_cannot_write_are_answered_in_base64() -> None:
    params = {"emb": np.float32([[np.nan]])}
    written = b"".join(JSON.write_answer(answer_of(params, rows={"emb": np.int64([1])}), {"emb": "list"}))
    tensor = orjson.loads(written)["params"]["emb"]
    assert tensor["rows"] == [1]
    assert bits(from_json(tensor).grads) == bits(params)


@pytest.mark.parametrize("codec", [JSON, SAFETENSORS], ids=["json", "binary"])
def test_an_empty_set_of_rows_is_a_gradient(codec: Codec) -> None:
    if codec is JSON:
        request = from_json({"rows": [], "dtype": "float32", "shape": [0, 4], "data": []})
    else:
        request = from_binary({"grads/emb": np.zeros((0, 4), np.float32), "rows/emb": np.zeros(0, np.int64)})
    assert request.grads["emb"].shape == (0, 4)
    assert request.rows["emb"].shape == (0,)
    written = b"".join(codec.write_answer(answer_of(request.grads, rows=request.rows), request.forms))
    if codec is JSON:
        again = from_json(orjson.loads(written)["params"]["emb"])
        assert (bits(again.grads), bits(again.rows)) == (bits(request.grads), bits(request.rows))
    else:
        assert bits(package.load(written)) == bits(
            {"params/emb": request.grads["emb"], "rows/emb": request.rows["emb"]}
        )


def test_indices_are_a_copy_that_no_client_can_change() -> None:
    body = bytearray(package.save({"grads/emb": np.float32([[1.0]]), "rows/emb": np.int64([5])}, None))
    request = SAFETENSORS.read_step(memoryview(body), LIMITS, ONCE)
    body[:] = bytes(len(body))
    assert request.rows["emb"].tolist() == [5]


ONE = np.float32([[1.0]])
TWO = np.float32([[1.0], [2.0]])
RISING = "tensor 'rows/emb' must be strictly increasing, and has {}: sort the indices, and add up what has the same one"
REFUSED: dict[str, tuple[dict[str, Any], type[ServiceError], str]] = {
    "another dtype": (
        {"grads/emb": TWO, "rows/emb": np.float32([1, 2])},
        MalformedBody,
        "tensor 'rows/emb' has the dtype 'F32'; expected one of I64",
    ),
    "two dimensions": (
        {"grads/emb": TWO, "rows/emb": np.int64([[1, 2]])},
        MalformedBody,
        "tensor 'rows/emb' must be one flat list of indices, and has 2 dimensions",
    ),
    "a negative one": (
        {"grads/emb": TWO, "rows/emb": np.int64([-1, 2])},
        MalformedBody,
        "tensor 'rows/emb' has the index -1 at [0]: they begin at 0",
    ),
    "one twice": (
        {"grads/emb": TWO, "rows/emb": np.int64([2, 2])},
        MalformedBody,
        RISING.format("2 at [1] after 2"),
    ),
    "a difference that overflows": (
        {"grads/emb": TWO, "rows/emb": np.int64([2**63 - 1, -(2**63)])},
        MalformedBody,
        RISING.format(f"{-(2**63)} at [1] after {2**63 - 1}"),
    ),
    "no gradient": (
        {"grads/w": ONE, "rows/emb": np.int64([1])},
        TensorMismatch,
        "tensor 'emb' has rows and no gradient: send grads/emb too",
    ),
    "a gradient of more": (
        {"grads/emb": TWO, "rows/emb": np.int64([1])},
        TensorMismatch,
        "tensor 'emb' has 1 rows, and a gradient of 2: its first dimension must be the number of rows",
    ),
    "a number for a gradient": (
        {"grads/emb": np.array(1, np.float32), "rows/emb": np.int64([1])},
        TensorMismatch,
        "tensor 'emb' has rows, and its gradient has no dimension: leave rows/emb out",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_wrong_rows_are_refused_by_name(wrong: str) -> None:
    tensors, error, message = REFUSED[wrong]
    with pytest.raises(error) as refusal:
        from_binary(tensors)
    assert refusal.value.detail == message


NO_LIST = "tensor 'rows/emb' must be one flat list of indices, and has 0 dimensions"
BOTH = "tensor 'grads/emb' has both data and base64: send one of them"
FLAT = "tensor 'rows/emb' must be one flat list of whole numbers, the indices of rows"
REFUSED_JSON: dict[str, tuple[Any, str]] = {
    "a fraction": ({"rows": [0.5], "data": [[1]]}, FLAT),
    "an index beyond float64": ({"rows": [2**53 + 1], "data": [[1]]}, FLAT),
    "null": ({"rows": [None], "data": [[1]]}, FLAT),
    "a truth value": ({"rows": [True], "data": [[1]]}, FLAT),
    "one number": ({"rows": 1, "data": [1]}, NO_LIST),
    "no data": ({"rows": [1]}, "tensor 'grads/emb' has rows and no data"),
    "a shape without a dtype": ({"rows": [1], "shape": [1], "data": [1]}, "tensor 'grads/emb' needs dtype"),
    "two data": ({"rows": [], "data": [], "base64": ""}, BOTH),
    "an unknown dtype": (
        {"rows": [1], "dtype": "int8", "data": [1]},
        f"tensor 'grads/emb' has the dtype 'int8': convert it to float32; expected one of {', '.join(DTYPES)}",
    ),
    "a member too many": (
        {"rows": [1], "data": [1], "row": [1]},
        "tensor 'grads/emb' has the unknown member 'row'; expected dtype, shape, and either data or base64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", REFUSED_JSON)
def test_wrong_rows_in_json_are_refused_by_name(wrong: str) -> None:
    tensor, message = REFUSED_JSON[wrong]
    with pytest.raises(MalformedBody) as refusal:
        from_json(tensor)
    assert refusal.value.detail == message


@pytest.mark.parametrize("codec", [JSON, SAFETENSORS], ids=["json", "binary"])
def test_parameters_are_never_of_rows(codec: Codec) -> None:
    of_rows = {"rows": [1], "data": [[1.0]]}
    if codec is JSON:
        body, told = orjson.dumps({"params": {"emb": of_rows}}), "tensor 'params/emb' has the unknown member 'rows'"
    else:
        body, told = package.save({"rows/emb": np.int64([1])}, None), "tensor 'rows/emb' must be named params/<name>"
    with pytest.raises(MalformedBody) as refusal:
        codec.read_params(body, LIMITS)
    assert refusal.value.detail.startswith(told)
