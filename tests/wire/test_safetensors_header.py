"""Headers of safetensors that are kept: the same outcome as reading or writing them anew."""

from dataclasses import replace

import numpy as np
import pytest

from app.errors import MalformedBody
from app.session import DTYPES
from app.wire import safetensors_header
from app.wire.codecs import SAFETENSORS
from app.wire.safetensors_tensors import read_file
from optim_engine.views import Place, Places, Views
from tests.service.calls import bits
from tests.wire.steps import answer_of
from tests.wire.test_safetensors_tensors import LIMITS, file, joined, read

W = b'"params/w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
HEADERS = {
    "metadata first": b'{"__metadata__":{"step":"1"},%b}',
    "metadata last": b'{%b,"__metadata__":{"step":"1"}}',
    "no metadata": b"{%b}",
    "spaces": b' { "__metadata__" : { "step" : "1" } , %b } ',
    "an escape in the metadata": b'{"__metadata__":{"st\\u0065p":"1"},%b}',
    "a brace in the metadata": b'{"__metadata__":{"a":"}"},%b}',
    "empty metadata": b'{"__metadata__":{},%b}',
    "two metadata": b'{"__metadata__":{},%b,"__metadata__":{}}',
    "two metadata, one escaped": b'{"__metadata__":{},%b,"__metadata_\\u005f":{}}',
    "a member twice": b'{"__metadata__":{"a":"1","a":"2"},%b}',
    "a list of two texts and a number": b'{"__metadata__":{"a":["b","c"],"d":1},%b}',
    "a member twice and a list": b'{"__metadata__":{"a":["b","c"],"d":"1","d":"1"},%b}',
    "metadata that are no JSON": b'{"__metadata__":{"a":"1",},%b}',
    "a number in the metadata": b'{"__metadata__":{"step":1},%b}',
    "a list for the metadata": b'{"__metadata__":[],%b}',
    "a trailing comma": b'{"__metadata__":{"step":"1"},}%b',
    "a comma too many": b'{"__metadata__":{"step":"1"},,%b}',
    "a tensor twice": b'{"__metadata__":{"step":"1"},%b,%b}',
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_kept_header_is_read_as_a_new_one(header: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> object:
        try:
            metadata, sections = read_file(body, ("params",), LIMITS)
        except MalformedBody as error:
            return str(error)
        return metadata, bits(sections["params"])

    body = file(header.replace(b"%b", W), bytes(8))
    kept = outcome(), outcome()
    monkeypatch.setattr(safetensors_header, "LONGEST_KEPT", 0)
    assert kept == (outcome(), outcome())


def test_a_kept_header_does_not_hide_other_limits_or_lengths() -> None:
    body = file(b"{%b}" % W, bytes(8))
    assert read(body)
    for wrong in (body + b"x", body[:-1]):
        with pytest.raises(MalformedBody):
            read(wrong)
    with pytest.raises(MalformedBody, match="grads/<name>"):
        read_file(body, ("grads",), LIMITS)
    with pytest.raises(MalformedBody, match="dimensions"):
        read_file(body, ("params",), replace(LIMITS, max_dimensions=0))


PLACES = [
    {"b": (0, slice(2, 6), (2, 2)), "a": (0, slice(0, 2), (2,)), "c": (0, slice(6, 7), ())},
    {"a": (1, slice(0, 2), (2,)), "b": (0, slice(0, 4), (2, 2)), "c": (0, slice(4, 7), (3,))},
    {"none": (0, slice(0, 0), (0, 3)), "a": (0, slice(0, 3), (3,)), "ü": (0, slice(5, 7), (1, 2))},
    {"none": (0, slice(0, 0), (0,))},
    {},
]


@pytest.mark.parametrize("places", PLACES)
def test_a_steps_parameters_are_written_as_others_are(places: dict[str, Place]) -> None:
    kept = Places(places)
    for dtypes in ("float32", "float32"), ("float64", "float32"), ("float32", "float16"):
        vectors = [np.arange(7, dtype=DTYPES[dtype]) + i for i, dtype in enumerate(dtypes)]
        views = Views(kept, vectors)
        for _ in range(2):
            got = SAFETENSORS.write_answer(answer_of(views), {})
            assert joined(got) == joined(SAFETENSORS.write_answer(answer_of(dict(views)), {}))
