"""A client's connections: the lane, and HTTPX for the rest. `_async_links.py` is the same with `await`."""

import threading
from collections.abc import Iterator, Sequence
from http.cookiejar import CookieJar
from typing import BinaryIO

import httpx2

from optim_client import _fork, _http, _local, _request_ids
from optim_client._lane import Lane, leads_to
from optim_client._protocol import Outcome, Request
from optim_client._request_ids import RequestIds


class Links:
    """The connections that a client and its `with_options` share. A forked process opens connections of its own."""

    def __init__(self, url: str, headers: dict[str, str], transport: httpx2.BaseTransport | None) -> None:
        self._transport = _local.Transport(url) if _local.is_local(url) else transport
        self._url = _http.url_of(_local.URL if _local.is_local(url) else url)
        self._headers = headers
        self._ids = RequestIds()
        self._closed = False
        self._refusal = ""
        self._start(CookieJar())
        direct = self._transport is None and leads_to(self._url)
        self._lane = Lane(self._url, headers, self._ids) if direct else None
        if not direct:
            self._httpx()
        _fork.follow(self)

    def _start(self, cookies: CookieJar) -> None:
        self._pool: httpx2.Client | None = None
        self._cookies = cookies
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Leave the pool to the parent. It is kept, for its end would say goodbye in the parent's name."""
        _http.LEFT_TO_THE_PARENT.append((self._pool, self._transport))
        self._start(_http.copied(self._cookies))
        if self._transport is not None:
            self._refusal = _local.FORKED if isinstance(self._transport, _local.Transport) else _http.FORKED

    def exchange(self, request: Request, limits: httpx2.Timeout) -> Outcome:
        """One try: the answer, or why there is none."""
        if self._lane is not None and self._lane.takes(request):
            return self._lane.exchange(request, limits)
        request_id = self._ids.new()
        try:
            with self._httpx().stream(
                request.method,
                request.path,
                params=request.query,
                headers={**_http.headers_of(request), _request_ids.HEADER: request_id},
                content=_http.whole(request.body) if isinstance(request.body, Sequence) else _chunks(request.body),
                timeout=limits,
            ) as response:
                if other := self._ids.foreign(request_id, response.status_code, response.headers):
                    return _http.foreign_answer(_http.where(response.request), request_id, other)
                if request.into is None or not response.is_success:
                    return _http.answer(response, response.read())
                _write(request.into, response)
                return _http.answer(response, b"")
        except httpx2.RequestError as error:
            return _http.connection_error(error)

    def close(self) -> None:
        """Close the connections of this process."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        if self._lane is not None:
            self._lane.close()

    def _httpx(self) -> httpx2.Client:
        """The pool, opened when it is first needed: its certificates take as long as a hundred steps."""
        with self._lock:
            if self._closed or self._refusal:
                raise RuntimeError(self._refusal or "the client is closed")
            if self._pool is None:
                self._pool = httpx2.Client(
                    base_url=self._url, headers=self._headers, cookies=self._cookies, transport=self._transport
                )
            return self._pool


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_http.CHUNK_BYTES):
        yield chunk


def _write(file: BinaryIO, response: httpx2.Response) -> None:
    file.seek(0)
    file.truncate()
    file.writelines(response.iter_bytes(_http.CHUNK_BYTES))
