"""The table of codecs, and the choice among them by a request's headers."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from app.errors import NotAcceptable, UnsupportedMediaType
from app.wire.codec import Codec
from app.wire.json_tensors import JsonTensors
from app.wire.safetensors_tensors import SafetensorsTensors

JSON = JsonTensors()
SAFETENSORS = SafetensorsTensors()

REMEMBERED = 64
"""Headers whose codec is cached: most requests have the same ones."""
CODECS: Mapping[str, Codec] = {name: codec for codec in (JSON, SAFETENSORS) for name in (codec.media_type, *codec.also)}
"""By media type."""


@lru_cache(REMEMBERED)
def codec_of(content_type: str | None, content_encoding: str | None = None) -> Codec:
    """Return the codec of a body. Raises `UnsupportedMediaType`."""
    if any(coding.strip().lower() not in ("", "identity") for coding in (content_encoding or "").split(",")):
        raise UnsupportedMediaType(f"Content-Encoding {content_encoding!r:.80} is not read: send the body as it is")
    codec = CODECS.get(_media_type(content_type or ""))
    if codec is None:
        raise UnsupportedMediaType(
            f"Content-Type {content_type or 'none'!r:.80} is not supported; expected one of {', '.join(CODECS)}"
        )
    return codec


def codec_accepted(accept: str | None, default: Codec, offered: Collection[Codec] = (JSON, SAFETENSORS)) -> Codec:
    """Return the codec of the answer: the best of `offered` that `Accept` names. Raises `NotAcceptable`."""
    if accept in (None, "", "*/*"):
        return default
    ranges = [_range(item) for item in accept.split(",")]
    best = max((default, *offered), key=lambda codec: _liking(codec, ranges))
    if _liking(best, ranges)[0]:
        return best
    names = ", ".join(codec.media_type for codec in offered)
    raise NotAcceptable(f"Accept {accept!r:.120} names no supported media type; expected one of {names}")


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _liking(codec: Codec, ranges: Sequence[tuple[str, float]]) -> tuple[float, int]:
    """Return the quality that the closest range of `Accept` gives a codec, and its place: the first of two wins."""
    for names in ((codec.media_type, *codec.also), ("application/*",), ("*/*",)):
        if found := [(quality, -place) for place, (media_range, quality) in enumerate(ranges) if media_range in names]:
            return max(found)
    return 0.0, 0


def _range(item: str) -> tuple[str, float]:
    """Return a media range and its quality."""
    quality = 1.0
    for parameter in item.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return _media_type(item), quality if 0 <= quality <= 1 else 0.0
