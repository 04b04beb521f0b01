"""Bodies in a region: the request and the answer of a step, if no socket carries them."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from fastapi import Request

from app.compute import Compute
from app.errors import MalformedHeader, UnsupportedMediaType
from app.web.regions import HEADER, REGIONS_EXTENSION, Places, Regions
from app.wire.codec import Buffer, Codec
from app.wire.codecs import SAFETENSORS

COPIED_BY_TWO_BYTES = 1 << 20
"""The shortest answer that two threads copy."""


def places_of(request: Request, codec: Codec) -> Places | None:
    """Return the places of the request's body and of its answer; `None` if the socket carries them.

    Raises `MalformedHeader`, and `UnsupportedMediaType` for JSON: a client could change text while it is parsed.
    """
    header = request.headers.get(HEADER)
    if header is None:
        return None
    regions: Regions | None = request.scope.get("extensions", {}).get(REGIONS_EXTENSION)
    if regions is None:
        raise MalformedHeader("X-Optim-Regions is for connections that may have regions: send the body")
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise MalformedHeader("a request with X-Optim-Regions has its body in a region, and sends none")
    if codec is not SAFETENSORS:
        raise UnsupportedMediaType(f"a region holds {SAFETENSORS.media_type}: send other forms as a body")
    return regions.places(header)


async def write_into_room(
    compute: Compute, buffers: list[Buffer], room: memoryview
) -> tuple[list[Buffer], Mapping[str, str]]:
    """Write an answer into its room. Return what is left to send, and the header that has the number of bytes written.

    An answer that is longer than its room is sent.
    """
    nbytes = sum(map(len, buffers))
    if nbytes > len(room):
        return buffers, {}
    middle = nbytes // 2 if nbytes >= COPIED_BY_TWO_BYTES else nbytes
    first, second = (partial(_write, buffers, room, *part) for part in ((0, middle), (middle, nbytes)))
    await asyncio.gather(compute.run(first, middle), compute.run(second, nbytes - middle))
    return [], {HEADER: str(nbytes)}


def _write(buffers: Sequence[Buffer], room: memoryview, start: int, end: int) -> None:
    """Write the bytes from `start` to `end` of all buffers together."""
    target, position = np.frombuffer(room, np.uint8), 0
    for buffer in buffers:
        first, last = max(start - position, 0), min(end - position, len(buffer))
        if first < last:
            target[position + first : position + last] = np.frombuffer(buffer, np.uint8)[first:last]
        position += len(buffer)
