"""Bodies in and out: one kept buffer in, a list of buffers out; nothing is joined."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.bulk_lane import BULK_BYTES, EXTENSION, Body
from app.errors import BodyTooLarge, MalformedHeader
from app.service import Service
from app.wire.codec import Buffer
from optim_engine.buffers import BUFFERS

LARGEST_WRITE = 1 << 20


@asynccontextmanager
async def tensors_body(request: Request, service: Service) -> AsyncIterator[memoryview]:
    """The body of a request that brings tensors, and a place for it until its work is done.

    The place is taken when the body is whole or a good part of it has come: who drips one takes none from others.
    Raises `Overloaded`, and `BodyTooLarge` before a byte is read where the length is announced.
    """
    limit = service.settings.max_body_bytes
    _announced(request, limit)
    body = _body(request)
    if body is not None:
        await body.begun()
    async with service.places.taken():
        yield await read_body(request, limit)


async def read_body(request: Request, limit: int) -> memoryview:
    """The whole body. Raises `BodyTooLarge`, before a byte is read where the length is announced."""
    length = _announced(request, limit)
    if length is None:
        return await _read_chunks(request, limit)
    buffer = BUFFERS.take(length).data
    body = _body(request)
    if length >= BULK_BYTES and body is not None and body.receive_into(buffer):
        if (await request.receive())["type"] == "http.disconnect":
            raise ClientDisconnect
        return buffer
    position = 0
    async for chunk in request.stream():
        buffer[position : position + len(chunk)] = chunk
        position += len(chunk)
    return buffer[:position]


def _announced(request: Request, limit: int) -> int | None:
    announced = request.headers.get("content-length")
    if announced is None:
        return None
    if not announced.isascii() or not announced.isdigit():
        raise MalformedHeader(f"Content-Length {announced!r:.40} is not a number")
    _check(int(announced), limit)
    return int(announced)


def _body(request: Request) -> Body | None:
    """What the bulk lane knows of it; nothing where the service runs without."""
    body: Body | None = request.scope.get("extensions", {}).get(EXTENSION)
    return body


async def _read_chunks(request: Request, limit: int) -> memoryview:
    body = bytearray()
    async for chunk in request.stream():
        _check(len(body) + len(chunk), limit)
        body += chunk
    return memoryview(body)


def _check(length: int, limit: int) -> None:
    if length > limit:
        raise BodyTooLarge(
            f"the body has {length} bytes or more, the limit is {limit}: send fewer tensors at once, or raise "
            "OPTIM_MAX_BODY_BYTES (settings may have 1 MiB)",
            limit=limit,
        )


class BuffersResponse(Response):
    """A body that is sent from the memory that it stands in; a short one in one piece."""

    def __init__(
        self,
        buffers: Sequence[Buffer],
        media_type: str,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        length = sum(memoryview(buffer).nbytes for buffer in buffers)
        self._buffers = buffers if length > LARGEST_WRITE else [b"".join(buffers)]
        super().__init__(None, 200, {**(headers or {}), "content-length": str(length)}, media_type, background)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        *parts, last = _parts(self._buffers)
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": last, "more_body": False})


def _parts(buffers: Sequence[Buffer]) -> list[Buffer]:
    return [
        buffer[start : start + LARGEST_WRITE]
        for buffer in buffers
        for start in range(0, len(buffer) or 1, LARGEST_WRITE)
    ]
