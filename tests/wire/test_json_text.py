"""JSON text: a name that stands twice is refused, and nothing else is."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MalformedBody
from app.wire.codec import Limits
from app.wire.codecs import JSON
from app.wire.json_text import read_text
from tests.examples import examples
from tests.wire.steps import ONCE

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(':"\\u003a'))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_has_each_name_once_is_read(value: Any, ascii_alone: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_alone).encode()
    assert read_text(text, "it") == orjson.loads(text)


@examples(quick=25, whole=2000)
@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), st.data())
def test_a_name_that_stands_twice_is_refused(members: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(members)))
    again = f"{json.dumps(name)}: {json.dumps(data.draw(VALUES))}"
    text = f"{json.dumps(members)[:-1]}, {again}}}"
    for around in (text, f"[[1, [{text}]]]", f'{{"grads": {text}}}'):
        with pytest.raises(MalformedBody, match="it has a name twice"):
            read_text(around.encode(), "it")


@pytest.mark.parametrize("name", [r"\u003a", r"\u003A", ":", r"\\u003a:", r"\":"])
def test_a_colon_in_a_name_is_none_of_a_member(name: str) -> None:
    text = f'{{"{name}": "{name}"}}'.encode()
    assert read_text(text, "it") == orjson.loads(text)


@pytest.mark.parametrize("begin", ["[", "[ ", "[  ", " [\n\n", '{"a":[', '{\n\n "a" : [', '  {  "a": {\n  "b": ['])
@pytest.mark.parametrize("unit", ["0,", "0.5,", "[],", "{},", '"",'])
def test_dense_text_that_begins_with_blanks_is_read(begin: str, unit: str) -> None:
    text = begin + (unit * 20_000)[:-1] + "]" + "}" * begin.count("{")
    assert read_text(text.encode(), "it") == json.loads(text)


@pytest.mark.parametrize("text", ["\x0b[1]", "[\x0c\x0c1]", "[\x0b 1]", "", " ", "  [", "[  "])
def test_what_is_no_blank_of_json_is_refused(text: str) -> None:
    with pytest.raises(MalformedBody, match="it is not JSON"):
        read_text(text.encode(), "it")


def test_what_nests_deep_is_read() -> None:
    assert read_text(b'{"a":' * 1000 + b"1" + b"}" * 1000, "it")
    with pytest.raises(MalformedBody, match="twice"):
        read_text(b"[" * 1000 + b'{"a": 1, "a": 2}' + b"]" * 1000, "it")


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("1", 0),
        ("[]", 1),
        ("{}", 1),
        ('{"a": [1, 2]}', 2),
        ('{"a": 1, "b": {"c": [[[]]]}}', 5),
        ('["a", [[{}]]]', 4),
        ('[{}, [[{"a": []}]]]', 5),
        ('{"a": {}, "b": [[1, 2], [3, 4]]}', 3),
    ],
)
def test_what_nests_deeper_than_it_may_is_refused(text: str, levels: int) -> None:
    assert read_text(text.encode(), "it", levels) == orjson.loads(text)
    if levels:
        with pytest.raises(MalformedBody, match=f"it has more than {levels - 1} lists and objects in one another"):
            read_text(text.encode(), "it", levels - 1)


WORDS = {"NaN": "NaN", "nan": "NaN", "-nan": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity", "inf": "Infinity",
         "-Inf": "-Infinity", "+Infinity": "Infinity"}  # fmt: skip


@pytest.mark.parametrize(("word", "instead"), WORDS.items())
@pytest.mark.parametrize("around", ['{{"grads": {{"w": [1, {}]}}}}', '{{"größe": 1, "loss":{}}}', "[{}"])
def test_words_outside_json_are_named_with_the_way_out(word: str, instead: str, around: str) -> None:
    with pytest.raises(MalformedBody) as raised:
        JSON.read_step(around.format(word).encode(), Limits(max_tensors=3, max_name_length=8), ONCE)
    assert raised.value.detail == f'the body has {word}, which is no JSON: a gradient may have null or "{instead}"'
