"""The table of codecs, and which one a request asks for."""

from collections.abc import Collection, Mapping

from app.errors import NotAcceptable, UnsupportedMediaType
from app.wire.codec import Codec
from app.wire.json_tensors import JsonTensors
from app.wire.safetensors_tensors import SafetensorsTensors

JSON = JsonTensors()
SAFETENSORS = SafetensorsTensors()

CODECS: Mapping[str, Codec] = {name: codec for codec in (JSON, SAFETENSORS) for name in (codec.media_type, *codec.also)}
"""By media type."""


def codec_of(content_type: str | None, content_encoding: str | None = None) -> Codec:
    """How a body is written. Raises `UnsupportedMediaType`."""
    if content_encoding not in (None, "", "identity"):
        raise UnsupportedMediaType(f"Content-Encoding {content_encoding!r:.80} is not read: send the body as it is")
    codec = CODECS.get(_media_type(content_type or ""))
    if codec is None:
        raise UnsupportedMediaType(
            f"Content-Type {content_type or 'none'!r:.80} is not read; there is {', '.join(CODECS)}"
        )
    return codec


def codec_accepted(accept: str | None, default: Codec, offered: Collection[Codec] = (JSON, SAFETENSORS)) -> Codec:
    """How the answer is to be written: the best of `offered` that `Accept` names. Raises `NotAcceptable`."""
    for media_range, quality in sorted(map(_range, (accept or "*/*").split(",")), key=lambda r: -r[1]):
        if quality == 0:
            continue
        if media_range in ("*/*", "application/*"):
            return default
        if CODECS.get(media_range) in offered:
            return CODECS[media_range]
    names = ", ".join(codec.media_type for codec in offered)
    raise NotAcceptable(f"Accept {accept!r:.120} names nothing that can be written here; there is {names}")


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _range(item: str) -> tuple[str, float]:
    """A media range and its quality."""
    quality = 1.0
    for parameter in item.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return _media_type(item), quality
