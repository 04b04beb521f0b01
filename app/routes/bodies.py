"""Bodies in and out: one kept buffer in, a list of buffers out; nothing is joined."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import NamedTuple

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import BodyTooLarge, MalformedHeader, Overloaded
from app.service import Service
from app.session import Session
from app.web.admission import Admission
from app.web.body import BODY_EXTENSION, BULK_BYTES, Body
from app.web.body_memory import Arrival
from app.web.one_write import LARGEST_JOINED, WHOLE_BODY
from app.web.phases import ENCODE, RECEIVE, end_phase
from app.wire.codec import Buffer
from app.wire.codecs import JSON, SAFETENSORS, codec_of
from optim_engine.buffers import BUFFERS

LARGEST_WRITE = 1 << 20


class Longest(NamedTuple):
    """The bytes that a body may have, and the way out where it has more."""

    nbytes: int
    advice: str


def longest_body(request: Request, service: Service, beside: int = 0) -> Longest:
    """Return the shortest of the limits of a body that has this request's media type, and may have bytes `beside`."""
    settings, limits = service.settings, service.limits
    nbytes = min(settings.max_body_bytes + beside, settings.max_waiting_bytes)
    codec = codec_of(request.headers.get("content-type"), request.headers.get("content-encoding"))
    if codec is JSON and limits.max_json_bytes < nbytes:
        return Longest(limits.max_json_bytes, f"send {SAFETENSORS.media_type}, or raise OPTIM_MAX_JSON_BYTES")
    name = "OPTIM_MAX_BODY_BYTES" if nbytes == settings.max_body_bytes + beside else "OPTIM_MAX_WAITING_BYTES"
    return Longest(nbytes, f"send fewer tensors at once, or raise {name}")


def tensors_body(
    request: Request,
    service: Service,
    tenant: str,
    session_id: str | None,
    check: Callable[[Session], None] = lambda session: None,
    *,
    beside: int = 0,
    region_body: memoryview | None = None,
) -> AbstractAsyncContextManager[memoryview]:
    """Read the body of a request that brings tensors to a session, and hold a place until its work is done.

    `session_id` is `None` where it makes the session; `beside` are bytes by which it may be longer than others;
    `region_body` is the body where it lies in a region.
    Raises `Overloaded`, and, before a large body is read, `BodyTooLarge` where its length is announced, what `check`
    raises of the session, and `SessionNotFound`.
    """
    limit = longest_body(request, service, beside)
    if region_body is None and not _is_large(request, limit):
        return SmallBody(request, limit, service.admission, tenant)
    return _large_body(request, service, tenant, session_id, check, limit, region_body)


class SmallBody:
    """A small body and a place, held by `async with`; a class, because a generator takes longer."""

    __slots__ = ("_admission", "_limit", "_request", "_tenant")

    def __init__(self, request: Request, limit: Longest, admission: Admission, tenant: str) -> None:
        self._request = request
        self._limit = limit
        self._admission = admission
        self._tenant = tenant

    async def __aenter__(self) -> memoryview:
        body = await _read_chunks(self._request, self._limit)
        await self._admission.enter(self._tenant)
        end_phase(RECEIVE)
        return body

    async def __aexit__(self, *_: object) -> None:
        self._admission.leave(self._tenant)


@asynccontextmanager
async def _large_body(
    request: Request,
    service: Service,
    tenant: str,
    session_id: str | None,
    check: Callable[[Session], None],
    limit: Longest,
    region_body: memoryview | None,
) -> AsyncIterator[memoryview]:
    if session_id is not None:
        check(await service.records.known(tenant, session_id))
    if region_body is not None:
        check_length(len(region_body), limit)
    arriving = whole_body(request, service, tenant, limit) if region_body is None else nullcontext(region_body)
    async with arriving as body, service.admission.place(tenant):
        end_phase(RECEIVE)
        yield body


@asynccontextmanager
async def whole_body(request: Request, service: Service, tenant: str, limit: Longest) -> AsyncIterator[memoryview]:
    """Read the body, and count the memory of a large one until it is no longer needed. Raises as `tensors_body`."""
    if not _is_large(request, limit):
        yield await read_body(request, limit)
        return
    with service.bodies.arrival(tenant) as arrival:
        yield await arrival.read(read_body(request, limit, arrival.grow))


@asynccontextmanager
async def expansion_room(
    request: Request, service: Service, tenant: str, body: memoryview, nbytes: int
) -> AsyncIterator[None]:
    """Count the memory of a step whose gradients expand to so many bytes, as a body of that size would be.

    Raises `BodyTooLarge` and `Overloaded`.
    """
    limit = longest_body(request, service)
    longest = min(limit.nbytes, service.settings.max_waiting_bytes - len(body))
    if nbytes > longest:
        raise BodyTooLarge(
            f"expanded, the body has {nbytes} bytes, the limit is {longest}: {limit.advice}", limit=longest
        )
    if nbytes < BULK_BYTES:
        yield
        return
    await asyncio.sleep(0)  # the deadline of `Arrival.read` needs a task (`app/web/at_once.py`)
    with service.bodies.arrival(tenant) as arrival:
        await arrival.read(_grown(arrival, nbytes))
        yield


async def _grown(arrival: Arrival, nbytes: int) -> None:
    arrival.grow(nbytes)
    await asyncio.sleep(0)  # so that it can be dropped


async def read_body(request: Request, limit: Longest, count: Callable[[int], None] = lambda nbytes: None) -> memoryview:
    """Read the whole body. Raises `BodyTooLarge`, before a byte is read where the length is announced."""
    length = _announced(request, limit)
    if length is None or length < BULK_BYTES:
        return await _read_chunks(request, limit, count)
    body = _body(request)
    if body is not None:
        await body.begun()
    buffer = _buffer(length)
    if body is not None and body.receive_into(buffer, count):
        try:
            message = await request.receive()
        finally:
            body.drop()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return buffer
    count(length)
    position = 0
    async for chunk in request.stream():
        buffer[position : position + len(chunk)] = chunk
        position += len(chunk)
    return buffer[:position]


def _buffer(nbytes: int) -> memoryview:
    try:
        return BUFFERS.take(nbytes).data
    except MemoryError:
        raise Overloaded(f"no memory for a body of {nbytes} bytes; send the request again") from None


def _is_large(request: Request, limit: Longest) -> bool:
    """Return whether the body goes the large ones' way: what is not announced may be."""
    length = _announced(request, limit)
    return length is None or length >= BULK_BYTES


def _announced(request: Request, limit: Longest) -> int | None:
    announced = request.headers.get("content-length")
    if announced is None:
        return None
    if not announced.isascii() or not announced.isdigit():
        raise MalformedHeader(f"Content-Length {announced!r:.40} is not a number")
    check_length(int(announced), limit)
    return int(announced)


def _body(request: Request) -> Body | None:
    """Return what the bulk lane knows of it; nothing where the service runs without."""
    body: Body | None = request.scope.get("extensions", {}).get(BODY_EXTENSION)
    return body


async def _read_chunks(
    request: Request, limit: Longest, count: Callable[[int], None] = lambda nbytes: None
) -> memoryview:
    body: bytes | bytearray = b""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        check_length(len(body) + len(chunk), limit)
        count(len(chunk))
        if body:
            body = bytearray(body) if isinstance(body, bytes) else body
            body += chunk
        else:
            body = chunk
        if not message.get("more_body", False):
            return memoryview(body)


def check_length(length: int, limit: Longest) -> None:
    """Raise `BodyTooLarge` for a body that is too long."""
    if length > limit.nbytes:
        raise BodyTooLarge(
            f"the body has {length} bytes or more, the limit is {limit.nbytes}: {limit.advice}", limit=limit.nbytes
        )


class BuffersResponse(Response):
    """A body that is sent from the memory that it stands in; a short one in one piece."""

    def __init__(self, buffers: Sequence[Buffer], media_type: str, headers: Mapping[str, str] | None = None) -> None:
        end_phase(ENCODE)
        length = sum(map(len, buffers))
        self._is_short = length <= LARGEST_JOINED
        self._buffers = buffers if length > LARGEST_WRITE or len(buffers) == 1 else [b"".join(buffers)]
        self.status_code, self.media_type, self.background = 200, media_type, None
        fields = {**(headers or {}), "content-length": str(length), "content-type": media_type}
        self.raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if self._is_short and WHOLE_BODY in scope.get("extensions", ()):
            await send({**start, WHOLE_BODY: self._buffers[0]})
            return
        await send(start)
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
