"""Bytes of any kind as a JSON step: each is a step, or is refused."""

import json
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import MalformedBody
from app.session import DTYPES
from app.wire.codec import MAX_DIMENSIONS, Limits
from app.wire.codecs import JSON
from tests.wire.steps import ONCE

LIMITS = Limits(max_tensors=3, max_name_length=8)


def read_step(body: bytes) -> None:
    """Read it, or refuse it: nothing else may happen."""
    try:
        step = JSON.read_step(body, LIMITS, ONCE)
    except MalformedBody:
        return
    for array in (*step.grads.values(), *step.params.values()):
        assert array.dtype in DTYPES.values()
        assert array.ndim <= MAX_DIMENSIONS


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
    | st.sampled_from([*DTYPES, "NaN", "Infinity", 1e300, 2**53]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data", "base64"]) | st.text(max_size=9), inner, max_size=4
        )
    ),
    max_leaves=20,
)
STEPS = st.fixed_dictionaries(
    {},
    optional={
        "grads": st.dictionaries(st.text(max_size=9), JSON_VALUES, max_size=4) | JSON_VALUES,
        "params": st.dictionaries(st.text(max_size=9), JSON_VALUES, max_size=4) | JSON_VALUES,
        "step": JSON_VALUES,
        "lr": JSON_VALUES,
        "loss": JSON_VALUES,
    },
)
VALID = orjson.dumps(
    {
        "step": 1, "lr": 0.1, "loss": "NaN",
        "params": {"w": [[1, 2.5]], "b": {"dtype": "bfloat16", "shape": [1], "data": [1]}},
        "grads": {"w": [[1e-3, 2]], "b": {"dtype": "bfloat16", "shape": [1], "base64": "AAA="}},
    }
)  # fmt: skip


INSERTIONS = [b"[", b"]", b"{", b'"', b"null", b"9" * 30, b"1e999", b'"\\ud800"']


@given(STEPS | JSON_VALUES)
def test_any_json_is_a_step_or_is_refused(document: Any) -> None:
    read_step(json.dumps(document).encode("utf-8", "surrogatepass"))


@given(st.data())
def test_a_step_with_changed_bytes_is_taken_or_refused(data: st.DataObject) -> None:
    body = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        kind = data.draw(st.sampled_from(["set", "cut", "insert"]))
        if kind == "set":
            body[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del body[at : at + data.draw(st.integers(1, 8))]
        else:
            body[at:at] = data.draw(st.sampled_from(INSERTIONS))
        if not body:
            break
    read_step(bytes(body))


@given(st.binary(max_size=100))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b"[" * 100_000)
@example(b'{"grads": {"\\ud800": 1}}')
@example(b'{"grads": {"w": ' + b"[" * 1000 + b"1" + b"]" * 1000 + b"}}")
@example(b'{"step": ' + b"9" * 5000 + b"}")
def test_any_bytes_are_a_step_or_are_refused(body: bytes) -> None:
    read_step(body)
