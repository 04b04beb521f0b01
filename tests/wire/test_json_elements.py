"""Elements of JSON tensors: a refusal names the tensor, the cause, the place and the way out."""

import pytest

from app.errors import MalformedBody
from app.wire.codec import Limits
from app.wire.codecs import JSON
from tests.wire.steps import ONCE

LIMITS = Limits(max_tensors=3, max_name_length=8)
CAUSES: list[tuple[str, str, str]] = [
    ("grads", "[1, true]", 'has true at [1]: write a number, or null, "NaN", "Infinity" or "-Infinity"'),
    ("grads", '["0.5"]', "has the text '0.5' at [0]: write a number, or null, "),
    ("grads", '["nan"]', "has the text 'nan' at [0]: write a number, or null, "),
    ("grads", "[[1, 2], [3, {}]]", "has an object at [1, 1]: write a number, or null, "),
    (
        "grads",
        "[[1], [2, 3]]",
        "has a list of 2 at [1], and a list of 1 at [0]: all must be lists of one length, or all ",
    ),
    ("grads", "[[[1], [2]], [[3], 4]]", "has 4 at [1, 1], and a list of 1 at [0, 0]: all must be lists"),
    (
        "grads",
        "[1, null, [2]]",
        "has a list of 1 at [2], and 1 at [0]: all must be lists of one length, or all numbers",
    ),
    ("grads", '"1"', "has the text '1': write a number, or null, "),
    ("grads", "[" * 33 + "1" + "]" * 33, "nests more than 32 lists"),
    ("grads", '{"dtype": "float32", "shape": [1, 2], "data": [[1, 2]]}', ": its data must be one flat list of numbers"),
    ("grads", '{"dtype": "float32", "shape": [], "data": null}', ": its data must be one flat list of numbers"),
    (
        "params",
        "[1, null]",
        "has NaN (null) at [1]: a parameter that is not finite must be sent as base64, with its dtype and shape",
    ),
    ("params", '[[1], ["NaN"]]', "has NaN at [1, 0]: a parameter that is not finite must be sent as base64"),
    ("params", '["-Infinity"]', "has -Infinity at [0]: a parameter that is not finite must be sent as base64"),
    ("params", "[1, -1e999]", "has -Infinity at [1]: a parameter that is not finite must be sent as base64"),
    (
        "params",
        "[1, 1e39]",
        "has a number out of the range of float32 at [1]: a parameter that is not finite must be sent as base64",
    ),
    (
        "params",
        '{"dtype": "float16", "shape": [1], "data": [65520]}',
        "has a number out of the range of float16 at [0]: ",
    ),
    ("params", "null", "has NaN (null): a parameter that is not finite must be sent as base64"),
    ("params", "[false]", "has false at [0]: write a number"),
    ("params", '["x"]', "has the text 'x' at [0]: write a number"),
]


@pytest.mark.parametrize(("section", "text", "cause"), CAUSES)
def test_a_refused_tensor_is_told_the_cause_and_its_place(section: str, text: str, cause: str) -> None:
    with pytest.raises(MalformedBody) as raised:
        JSON.read_step(f'{{"{section}": {{"w": {text}}}}}'.encode(), LIMITS, ONCE)
    assert cause in raised.value.detail
    assert raised.value.fields["tensor"] == f"{section}/w"
    assert len(raised.value.detail) < 250


LONG = "0.25," * 40_000
LONG_CAUSES: list[tuple[str, str, str]] = [
    ("grads", f"[{LONG} true]", "has true at [40000]: write a number, or null, "),
    ("params", f"[{LONG} null, 1]", "has NaN (null) at [40000]: a parameter that is not finite must be sent as base64"),
    ("params", f"[{LONG} 1e39]", "has a number out of the range of float32 at [40000]: "),
    ("grads", f"[[{LONG} 1], [{LONG} 2], [{LONG[:-1]}]]", "has a list of 40000 at [2], and a list of 40001 at [0]: "),
    ("grads", f"[{LONG} [1]]", "has a list of 1 at [40000], and 0.25 at [0]: all must be lists of one length, or all "),
    ("grads", f'[[[{LONG} 1]], [[{LONG} "x"]]]', "has the text 'x' at [1, 0, 40000]: write a number, or null, "),
    ("grads", f"[{LONG} -Infinity, 1]", 'has -Infinity, which is no JSON: a gradient may have null or "-Infinity"'),
    ("grads", f"[{LONG} 01]", "has a list that is not JSON: "),
    ("grads", f"[{LONG * 10} [1]]", "must be numbers in lists of one length"),
]


@pytest.mark.parametrize(("section", "text", "cause"), LONG_CAUSES, ids=[cause for *_, cause in LONG_CAUSES])
def test_a_refused_long_list_is_told_the_cause(section: str, text: str, cause: str) -> None:
    with pytest.raises(MalformedBody) as raised:
        JSON.read_step(f'{{"{section}": {{"w": {text}}}}}'.encode(), LIMITS, ONCE)
    assert cause in raised.value.detail
    assert raised.value.fields["tensor"] == f"{section}/w"
    assert len(raised.value.detail) < 250
