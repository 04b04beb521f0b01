"""Tensors as JSON: what is written reads back to the bit, and whatever is not a tensor is refused by its name."""

import json
import tracemalloc
from base64 import b64encode
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.errors import MalformedBody
from app.session import DTYPES
from app.wire.codec import Limits
from app.wire.codecs import JSON
from tests.service.calls import bits
from tests.wire.steps import ONCE, answer_of

LIMITS = Limits(max_tensors=3, max_name_length=8)
FLOATS: dict[str, tuple[Any, Any]] = {
    "float64": (np.float64, 64),
    "float32": (np.float32, 32),
    "float16": (np.float16, 16),
}


def arrays(dtype: str) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Any array of that dtype; bfloat16 by its bits."""
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
    if dtype == "bfloat16":
        return hnp.arrays(np.uint16, shapes).map(lambda raw: raw.view(ml_dtypes.bfloat16))
    kind, width = FLOATS[dtype]
    return hnp.arrays(kind, shapes, elements=st.floats(width=width))


def written(array: np.ndarray[Any, Any], form: str) -> Any:
    """The tensor as it stands in an answer."""
    (text,) = JSON.write_answer(answer_of({"w": array}), {"w": form})
    return orjson.loads(text)["params"]["w"]


def read(tensor: Any) -> np.ndarray[Any, Any]:
    return JSON.read_params(orjson.dumps({"params": {"w": tensor}}), LIMITS)["w"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["data", "base64"])
@given(data=st.data())
def test_what_is_written_reads_back_to_the_bit(dtype: str, form: str, data: st.DataObject) -> None:
    array = data.draw(arrays(dtype))
    tensor = written(array, form)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        finite = np.isfinite(array).all()
    assert (form in tensor) or ("base64" in tensor and not finite)
    assert bits({"w": read(tensor)}) == bits({"w": array})


@given(hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
@example(np.array([3.4028235e38, 1e-45, 1.1754944e-38, 16777216, 9007199254740992, -0.0, 0.1], np.float32))
def test_a_list_of_float32_reads_back_to_the_bit(array: np.ndarray[Any, Any]) -> None:
    assert bits({"w": read(written(array, "list"))}) == bits({"w": array})


@given(st.data())
def test_written_parameters_read_back_to_the_bit(data: st.DataObject) -> None:
    params = {dtype: data.draw(arrays(dtype)) for dtype in list(DTYPES)[:3]}
    (text,) = JSON.write_params(params)
    assert bits(JSON.read_params(text, Limits(3, 8))) == bits(params)


NUMBER = [1, 2.5]
REFUSED: dict[str, Any] = {
    "null": None,
    "text": "1",
    "true": True,
    "false in a list": [1, False],
    "true in a list of lists": [[1, 2], [3, True]],
    "true in the first list": [[True, 2], [3, 4]],
    "null in a list": [1, None],
    "text in a list": [1, "2"],
    "an object in a list": [1, {}],
    "lists of two lengths": [[1, 2], [3]],
    "lists of two depths": [[1, 2], 3],
    "a number before a list": [1, [2]],
    "an empty list beside a full one": [[], [1]],
    "too deep": json.loads("[" * 33 + "1" + "]" * 33),
    "too deep and empty": json.loads("[" * 33 + "]" * 33),
    "far too deep behind what is not": json.loads("[[1], " + "[" * 900 + "]" * 900 + "]"),
    "beyond float32": [1e39],
    "far beyond float32": [1e300],
    "below float32": [-1e39],
    "an object": {},
    "a tree": {"a": NUMBER, "b": {"dtype": "float32", "shape": [2], "data": NUMBER}},
    "no dtype": {"shape": [2], "data": NUMBER},
    "no shape": {"dtype": "float32", "data": NUMBER},
    "no values": {"dtype": "float32", "shape": [2]},
    "both kinds of values": {"dtype": "float32", "shape": [2], "data": NUMBER, "base64": "AAAAAAAAAAA="},
    "something more": {"dtype": "float32", "shape": [2], "data": NUMBER, "order": "C"},
    "a dtype that is none": {"dtype": "int8", "shape": [2], "data": NUMBER},
    "numpy's name of a dtype": {"dtype": "<f4", "shape": [2], "data": NUMBER},
    "a dtype that is no text": {"dtype": ["float32"], "shape": [2], "data": NUMBER},
    "a shape that is a number": {"dtype": "float32", "shape": 2, "data": NUMBER},
    "a shape of text": {"dtype": "float32", "shape": ["2"], "data": NUMBER},
    "a shape of fractions": {"dtype": "float32", "shape": [2.0], "data": NUMBER},
    "a shape of truths": {"dtype": "float32", "shape": [True, 2], "data": NUMBER},
    "a negative size": {"dtype": "float32", "shape": [-2], "data": NUMBER},
    "two negative sizes": {"dtype": "float32", "shape": [-1, -2], "data": NUMBER},
    "too many sizes": {"dtype": "float32", "shape": [1] * 32 + [2], "data": NUMBER},
    "a size beyond all memory": {"dtype": "float32", "shape": [2**62, 4], "data": NUMBER},
    "a size beyond all memory, and none": {"dtype": "float32", "shape": [0, 10**18], "data": []},
    "too few values": {"dtype": "float32", "shape": [3], "data": NUMBER},
    "too many values": {"dtype": "float32", "shape": [1], "data": NUMBER},
    "nested values": {"dtype": "float32", "shape": [1, 2], "data": [NUMBER]},
    "a bare value": {"dtype": "float32", "shape": [], "data": 1.0},
    "values that are an object": {"dtype": "float32", "shape": [2], "data": {}},
    "beyond float16": {"dtype": "float16", "shape": [1], "data": [65520]},
    "beyond bfloat16": {"dtype": "bfloat16", "shape": [1], "data": [3.4e38 * 1.1]},
    "base64 that is none": {"dtype": "float32", "shape": [1], "base64": "AAAA*AAA"},
    "base64 with a line in it": {"dtype": "float32", "shape": [1], "base64": "AAAA\nAAA="},
    "base64 of another alphabet": {"dtype": "float32", "shape": [1], "base64": "____AA=="},
    "base64 that is not padded": {"dtype": "float32", "shape": [1], "base64": "AAAAAA"},
    "base64 that is no text": {"dtype": "float32", "shape": [1], "base64": [0, 0, 0, 0]},
    "base64 of half an element": {"dtype": "float32", "shape": [1], "base64": b64encode(b"123456").decode()},
    "base64 of too little": {"dtype": "float64", "shape": [1], "base64": b64encode(b"1234").decode()},
    "base64 of too much": {"dtype": "float32", "shape": [1], "base64": b64encode(b"12345678").decode()},
}
FOR_GRADIENTS = {
    "null", "null in a list", "beyond float32", "far beyond float32", "below float32", "beyond float16",
    "beyond bfloat16",
}  # fmt: skip
"""The values that only parameters may not have."""


@pytest.mark.parametrize(
    ("section", "wrong"),
    [("params", wrong) for wrong in REFUSED] + [("grads", wrong) for wrong in REFUSED if wrong not in FOR_GRADIENTS],
)
def test_what_is_no_tensor_is_refused_by_its_name(section: str, wrong: str) -> None:
    document = {"params": {"w": NUMBER}, "grads": {"w": NUMBER}} | {section: {"w": REFUSED[wrong]}}
    with pytest.raises(MalformedBody) as raised:
        JSON.read_step(json.dumps(document).encode(), LIMITS, ONCE)
    assert raised.value.fields["tensor"] == f"{section}/w"
    assert len(raised.value.detail) < 300


EXPECTED = "expected dtype, shape, and either data or base64"
SHAPE = "its shape must be a list of up to 32 sizes, not"
TOLD: list[tuple[str, str]] = [
    ("no dtype", " needs dtype"),
    ("no shape", " needs shape"),
    ("no values", " needs data or base64"),
    ("both kinds of values", " has both data and base64: send one of them"),
    ("something more", f" has the unknown member 'order'; {EXPECTED}"),
    ("an object", " needs dtype and shape and data or base64"),
    ("a tree", " is an object with the member 'a'; names are flat: write 'w/a'"),
    ("a dtype that is none", " has the dtype 'int8': convert it to float32; expected one of float64, float32, "),
    ("a shape that is a number", f": {SHAPE} 2"),
    ("a shape of text", f": {SHAPE} ['2']"),
    ("a shape of truths", f": {SHAPE} [true, 2]"),
    ("a negative size", f": {SHAPE} [-2]"),
    ("too many sizes", f": {SHAPE} a longer one"),
    ("a size beyond all memory", f": {SHAPE} [a whole number of 63 bits, 4]"),
]


@pytest.mark.parametrize(("wrong", "told"), TOLD, ids=[wrong for wrong, _ in TOLD])
def test_a_refused_object_is_told_what_is_wrong_with_it(wrong: str, told: str) -> None:
    with pytest.raises(MalformedBody) as raised:
        JSON.read_step(json.dumps({"grads": {"w": REFUSED[wrong]}}).encode(), LIMITS, ONCE)
    assert raised.value.detail.startswith(f"tensor 'grads/w'{told}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", np.float32(3)),
        ("[]", np.zeros(0, np.float32)),
        ("[[], []]", np.zeros((2, 0), np.float32)),
        ("[[1, 2], [3, 4.5]]", np.float32([[1, 2], [3, 4.5]])),
        (f"[{10**30}, {-(2**70)}]", np.float32([10**30, -(2**70)])),
        ("[1e-50]", np.float32([0])),
        ("[3.4028235e38]", np.float32([3.4028235e38])),
        ("[" * 32 + "7" + "]" * 32, np.full((1,) * 32, 7, np.float32)),
    ],
)
def test_numbers_of_every_kind_are_float32(text: str, value: np.ndarray[Any, Any]) -> None:
    tensor = JSON.read_params(f'{{"params": {{"w": {text}}}}}'.encode(), LIMITS)["w"]
    assert bits({"w": tensor}) == bits({"w": value})


INF = np.inf
SPECIAL: dict[str, tuple[str, Any, Any]] = {
    "null": ("[0.5, null]", np.float32, [0.5, np.nan]),
    "NaN": ('["NaN", 1]', np.float32, [np.nan, 1]),
    "infinities": ('[["Infinity"], ["-Infinity"]]', np.float32, [[INF], [-INF]]),
    "a scalar": ('"NaN"', np.float32, np.nan),
    "flat data": ('{"dtype": "float64", "shape": [2], "data": [null, "-Infinity"]}', np.float64, [np.nan, -INF]),
    "beyond float32": ("[1e39, -1e39, 3.4e38]", np.float32, [INF, -INF, 3.4e38]),
    "beyond float16": ('{"dtype": "float16", "shape": [2], "data": [65520, 65519]}', np.float16, [INF, 65504]),
    "beyond bfloat16": ('{"dtype": "bfloat16", "shape": [1], "data": [3.4e38]}', ml_dtypes.bfloat16, [INF]),
    "beyond float64": ("[1e999, -1E+400, 1e-400]", np.float32, [INF, -INF, 0]),
    "beyond float64, as data": ('{"dtype": "float64", "shape": [1], "data": [1e309]}', np.float64, [INF]),
    "many digits": (f"[{'9' * 400}, -{'9' * 400}.5, 0.{'9' * 400}]", np.float32, [INF, -INF, 1]),
    "many": (f"[{'0.25,' * 50_000} null]", np.float32, [0.25] * 50_000 + [np.nan]),
    "many, in lists": (f"[{'[1, 2],' * 50_000} [3, 1e999]]", np.float32, [[1, 2]] * 50_000 + [[3, INF]]),
}


@pytest.mark.parametrize(("text", "dtype", "expected"), SPECIAL.values(), ids=SPECIAL)
def test_gradients_may_have_what_json_has_no_number_for(text: str, dtype: Any, expected: Any) -> None:
    read = JSON.read_step(f'{{"grads": {{"w": {text}}}, "loss": 1}}'.encode(), LIMITS, ONCE).grads["w"]
    assert (read.dtype, read.shape) == (dtype, np.shape(expected))
    assert np.array_equal(read.astype(np.float64), np.array(expected, dtype).astype(np.float64), equal_nan=True)


def test_a_null_gradient_is_left_out_with_its_parameter() -> None:
    body = b'{"params": {"a": [1], "b": [2], "c": 3}, "grads": {"a": [1], "b": null, "c": null, "d": null}}'
    step = JSON.read_step(body, LIMITS, ONCE)
    assert (list(step.params), list(step.grads), list(step.forms)) == (["a"], ["a"], ["a"])


def test_one_text_among_many_numbers_costs_no_memory_for_each() -> None:
    tensor = ["x" * 100_000] + [1] * 10_000
    body = orjson.dumps({"grads": {"w": tensor}})
    tracemalloc.start()
    with pytest.raises(MalformedBody):
        JSON.read_step(body, LIMITS, ONCE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), ("1", 1.0), ('"NaN"', "nan"), ('"Infinity"', "inf"), ('"-Infinity"', "-inf"), ("null", "None")],
)
def test_a_loss_may_be_whatever_a_float_can_be(text: str, value: Any) -> None:
    assert str(JSON.read_step(f'{{"loss": {text}}}'.encode(), LIMITS, ONCE).loss) == str(value)


def test_an_answer_has_its_parts_in_one_order() -> None:
    (text,) = JSON.write_answer(answer_of({"w": np.float32([1])}), {})
    assert text == (
        b'{"step":1,"params":{"w":[1.0]},"skipped":false,"digest":"d","params_digest":"p","metrics":{},"warnings":[]}'
    )


def test_an_answer_says_that_it_is_a_preview() -> None:
    (text,) = JSON.write_answer(replace(answer_of({}), preview=True), {})
    assert text.endswith(b'"warnings":[],"preview":true}')
