"""Headers of safetensors that are kept as read: the same outcome as reading them anew."""

from dataclasses import replace

import pytest

from app.errors import MalformedBody
from app.wire import safetensors_tensors
from app.wire.safetensors_tensors import read_file
from tests.service.calls import bits
from tests.wire.test_safetensors_tensors import LIMITS, file, read

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
    monkeypatch.setattr(safetensors_tensors, "LONGEST_KEPT", 0)
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
