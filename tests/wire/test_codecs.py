"""The codec that a request asks for."""

import pytest

from app.errors import NotAcceptable, UnsupportedMediaType
from app.wire.codecs import JSON, SAFETENSORS, codec_accepted, codec_of


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        ("application/json", JSON),
        ("application/json; charset=utf-8", JSON),
        ("Application/JSON", JSON),
        ("application/vnd.safetensors", SAFETENSORS),
        ("application/octet-stream", SAFETENSORS),
        (" application/octet-stream ;x=y", SAFETENSORS),
    ],
)
def test_a_body_is_read_as_its_media_type_says(content_type: str, codec: object) -> None:
    assert codec_of(content_type) is codec
    for coding in ("identity", "Identity", " IDENTITY ", "identity, Identity", ""):
        assert codec_of(content_type, coding) is codec


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/*", "*/*", "json", "application/json2"])
def test_an_unknown_media_type_is_refused(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType, match=r"application/json, application/vnd.safetensors, .*octet-stream"):
        codec_of(content_type)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "identity, gzip", "br", "GZIP", "identity;q=1"])
def test_a_body_that_is_packed_is_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=encoding):
        codec_of("application/json", encoding)


@pytest.mark.parametrize(
    ("accept", "codec"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/vnd.safetensors", SAFETENSORS),
        ("application/vnd.safetensors, application/problem+json", SAFETENSORS),
        ("application/json;q=0.1, application/octet-stream;q=0.2", SAFETENSORS),
        ("application/json;q=0.2, application/octet-stream;q=0.1", JSON),
        ("text/html, */*;q=0.1", JSON),
        ("application/vnd.safetensors;q=0, */*", JSON),
        ("application/vnd.safetensors;q=many, application/json", JSON),
        ("application/json;q=0, */*", SAFETENSORS),
        ("*/*, application/json;q=0.0", SAFETENSORS),
        ("application/vnd.safetensors;q=nan, application/json;q=0.001", JSON),
        ("application/vnd.safetensors;q=1e999, application/*;q=0.1", JSON),
        ("application/vnd.safetensors, */*", SAFETENSORS),
        ("application/vnd.safetensors; q = 1 ; x=y, application/json;q=0.9", SAFETENSORS),
    ],
)
def test_an_answer_is_written_as_accept_likes_it_best(accept: str | None, codec: object) -> None:
    assert codec_accepted(accept, JSON) is codec


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml, image/*", "application/json;q=0", "*/*;q=0", ",", ";", "json"]
)
def test_an_answer_that_nobody_can_write_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=r"expected one of application/json, application/vnd\.safetensors"):
        codec_accepted(accept, JSON)


def test_what_is_not_offered_is_not_given() -> None:
    with pytest.raises(NotAcceptable, match=r"expected one of application/vnd\.safetensors"):
        codec_accepted("application/json", SAFETENSORS, offered=[SAFETENSORS])
