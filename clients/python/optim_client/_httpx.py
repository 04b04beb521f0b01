"""The transport that is HTTPX. `_async_httpx.py` is the same with `await`."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from http.cookiejar import CookieJar
from typing import BinaryIO

import httpx2
import numpy as np

from optim_client import _fork, _http, _request_ids
from optim_client._protocol import Outcome, Request, is_stream
from optim_client._regions import Memory
from optim_client._request_ids import RequestIds
from optim_client._transport import CLOSED
from optim_client.errors import APIConnectionError


class Httpx:
    """A `Transport` that knows what HTTPX knows: proxies, cookies, passwords in the URL, and files in pieces.

    A `transport` of the user's belongs to the process that made it: a forked one is refused. `path` is that of a Unix
    socket, where the connections go through one.
    """

    def __init__(
        self,
        url: httpx2.URL,
        headers: Mapping[str, str],
        ids: RequestIds,
        transport: httpx2.BaseTransport | None = None,
        path: str = "",
    ) -> None:
        self._url = url
        self._headers = headers
        self._ids = ids
        self._transport = transport
        self._path = path
        self._closed = False
        self._refusal = ""
        self._start(CookieJar())
        _fork.follow(self)

    def _start(self, cookies: CookieJar) -> None:
        self._pool: httpx2.Client | None = None
        self._cookies = cookies
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Leave the pool to the parent. It is kept, because its end would close the parent's connections."""
        _http.LEFT_TO_THE_PARENT.append((self._pool, self._transport))
        self._start(_http.copied(self._cookies))
        if self._transport is not None:
            self._refusal = _http.FORKED

    def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""
        request_id = self._ids.new()
        try:
            with closing(self._send(request, request_id, timeout)) as response:
                return self._outcome(request, request_id, response)
        except httpx2.RequestError as error:
            return _http.connection_error(error, self._path)

    def open(self, request: Request, timeout: httpx2.Timeout) -> "Outcome | HttpxStream":
        """Send one try of a request; return the stream that answers it. Returns any other answer as `exchange` does."""
        request_id = self._ids.new()
        try:
            response = self._send(request, request_id, _http.of_stream(timeout))
            stream = HttpxStream(response, self._path)
            if is_stream(stream.head) and not self._ids.foreign(request_id, stream.head.status, stream.head.headers):
                return stream
            with closing(response):
                return self._outcome(request, request_id, response)
        except httpx2.RequestError as error:
            return _http.connection_error(error, self._path)

    def _send(self, request: Request, request_id: str, timeout: httpx2.Timeout) -> httpx2.Response:
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
        return pool.send(sent, stream=True)

    def _outcome(self, request: Request, request_id: str, response: httpx2.Response) -> Outcome:
        if other := self._ids.foreign(request_id, response.status_code, response.headers):
            return _http.foreign_answer(_http.where(response.request, self._path), request_id, other)
        if request.into is None or not response.is_success:
            return _http.answer(response, response.read())
        _write(request.into, response)
        return _http.answer(response, b"")

    def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory of this process, which HTTPX copies."""
        return np.empty(nbytes, np.uint8)

    def pool(self) -> httpx2.Client:
        """Return the pool, opened at the first call: its certificates take as long as a hundred steps."""
        with self._lock:
            if self._closed or self._refusal:
                raise RuntimeError(self._refusal or CLOSED)
            if self._pool is None:
                transport = httpx2.HTTPTransport(uds=self._path) if self._path else self._transport
                self._pool = httpx2.Client(
                    base_url=self._url, headers=self._headers, cookies=self._cookies, transport=transport
                )
            return self._pool

    def close(self) -> None:
        """Close the connections of this process."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


class HttpxStream:
    """A `Stream` over HTTPX. A forked process leaves it to the parent."""

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

    def __iter__(self) -> Iterator[bytes]:
        parts = self._response.iter_raw()
        try:
            while not self._left and (part := next(parts, b"")):
                yield part
        except httpx2.RequestError as error:
            raise _http.connection_error(error, self._path) from error
        if self._left:
            raise APIConnectionError(f"{_http.where(self._response.request, self._path)}: this process was forked")

    def close(self) -> None:
        """Free the connection."""
        if not self._left:
            self._response.close()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_http.CHUNK_BYTES):
        yield chunk


def _write(file: BinaryIO, response: httpx2.Response) -> None:
    file.seek(0)
    file.truncate()
    file.writelines(response.iter_bytes(_http.CHUNK_BYTES))
