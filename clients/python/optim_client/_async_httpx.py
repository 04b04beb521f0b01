"""The transport that is HTTPX, for async code: `_httpx.py` with `await`, and a pool for each event loop."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from http.cookiejar import CookieJar
from typing import BinaryIO

import httpx2
import numpy as np

from optim_client import _fork, _http, _request_ids
from optim_client._per_loop import PerLoop
from optim_client._protocol import Outcome, Request, is_stream
from optim_client._regions import Memory
from optim_client._request_ids import RequestIds
from optim_client._transport import CLOSED
from optim_client.errors import APIConnectionError


class AsyncHttpx:
    """An `AsyncTransport` that knows what HTTPX knows: proxies, cookies, passwords in the URL, and files in pieces.

    A `transport` of the user's belongs to the process that made it: a forked one is refused. `path` is that of a Unix
    socket, where the connections go through one.
    """

    def __init__(
        self,
        url: httpx2.URL,
        headers: Mapping[str, str],
        ids: RequestIds,
        transport: httpx2.AsyncBaseTransport | None = None,
        path: str = "",
    ) -> None:
        self._url = url
        self._headers = headers
        self._ids = ids
        self._transport = transport
        self._path = path
        self._closed = False
        self._refusal = ""
        self._cookies = CookieJar()
        self._pools = PerLoop(self._new_pool)
        self._only = None if transport is None else self._new_pool()
        _fork.follow(self)

    def _new_pool(self) -> httpx2.AsyncClient:
        transport = httpx2.AsyncHTTPTransport(uds=self._path) if self._path else self._transport
        return httpx2.AsyncClient(base_url=self._url, headers=self._headers, cookies=self._cookies, transport=transport)

    def after_fork(self) -> None:
        """Leave the pools to the parent. They are kept, because their end would close the parent's connections."""
        _http.LEFT_TO_THE_PARENT.append((self._pools.forget(), self._transport))
        self._cookies = _http.copied(self._cookies)
        if self._transport is not None:
            self._refusal = _http.FORKED

    async def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""
        request_id = self._ids.new()
        try:
            async with aclosing(await self._send(request, request_id, timeout)) as response:
                return await self._outcome(request, request_id, response)
        except httpx2.RequestError as error:
            return _http.connection_error(error, self._path)

    async def open(self, request: Request, timeout: httpx2.Timeout) -> "Outcome | AsyncHttpxStream":
        """Send one try of a request; return the stream that answers it. Returns any other answer as `exchange` does."""
        request_id = self._ids.new()
        try:
            response = await self._send(request, request_id, _http.of_stream(timeout))
            stream = AsyncHttpxStream(response, self._path)
            if is_stream(stream.head) and not self._ids.foreign(request_id, stream.head.status, stream.head.headers):
                return stream
            async with aclosing(response):
                return await self._outcome(request, request_id, response)
        except httpx2.RequestError as error:
            return _http.connection_error(error, self._path)

    async def _send(self, request: Request, request_id: str, timeout: httpx2.Timeout) -> httpx2.Response:
        """Send a request; return its answer, whose body is not read yet."""
        pool = self.pool()
        sent = pool.build_request(
            request.method,
            request.path,
            params=request.query,
            headers={**_http.headers_of(request), _request_ids.HEADER: request_id},
            content=_http.whole(request.body) if isinstance(request.body, Sequence) else _chunks(request.body),
            timeout=timeout,
        )
        return await pool.send(sent, stream=True)

    async def _outcome(self, request: Request, request_id: str, response: httpx2.Response) -> Outcome:
        if other := self._ids.foreign(request_id, response.status_code, response.headers):
            return _http.foreign_answer(_http.where(response.request, self._path), request_id, other)
        if request.into is None or not response.is_success:
            return _http.answer(response, await response.aread())
        await _write(request.into, response)
        return _http.answer(response, b"")

    async def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory of this process, which HTTPX copies."""
        return np.empty(nbytes, np.uint8)

    def pool(self) -> httpx2.AsyncClient:
        """Return the running loop's pool, opened at the first call; a `transport` of the user's has one for all."""
        if self._closed or self._refusal:
            raise RuntimeError(self._refusal or CLOSED)
        return self._only or self._pools.get()

    async def close(self) -> None:
        """Close the connections of this process; those of other loops end with their loops."""
        self._closed = True
        pools = self._pools.forget()
        mine = self._only or pools.get(asyncio.get_running_loop())
        if mine is not None and not self._refusal:
            await mine.aclose()


class AsyncHttpxStream:
    """An `AsyncStream` over HTTPX. A forked process leaves it to the parent."""

    def __init__(self, response: httpx2.Response, path: str) -> None:
        self.head = _http.answer(response, b"")
        self._response = response
        self._path = path
        self._left = False
        _fork.follow(self)

    def after_fork(self) -> None:
        """Leave the connection to the parent."""
        _http.LEFT_TO_THE_PARENT.append(self._response)
        self._left = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = self._response.aiter_raw()
        try:
            while not self._left and (part := await anext(parts, b"")):
                yield part
        except httpx2.RequestError as error:
            raise _http.connection_error(error, self._path) from error
        if self._left:
            raise APIConnectionError(f"{_http.where(self._response.request, self._path)}: this process was forked")

    async def close(self) -> None:
        """Free the connection."""
        if not self._left:
            await self._response.aclose()


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, _http.CHUNK_BYTES):
        yield chunk


async def _write(file: BinaryIO, response: httpx2.Response) -> None:
    file.seek(0)
    file.truncate()
    async for chunk in response.aiter_bytes(_http.CHUNK_BYTES):
        await asyncio.to_thread(file.write, chunk)
