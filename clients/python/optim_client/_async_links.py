"""An async client's connections: `_links.py` with `await`, and HTTPX's for each event loop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from http.cookiejar import CookieJar
from typing import BinaryIO

import httpx2

from optim_client import _fork, _http, _local, _request_ids
from optim_client._async_lane import AsyncLane
from optim_client._lane import leads_to
from optim_client._per_loop import PerLoop
from optim_client._protocol import Outcome, Request
from optim_client._request_ids import RequestIds


class AsyncLinks:
    """The connections that a client and its `with_options` share. A forked process opens connections of its own."""

    def __init__(self, url: str, headers: dict[str, str], transport: httpx2.AsyncBaseTransport | None) -> None:
        self._transport = _local.AsyncTransport(url) if _local.is_local(url) else transport
        self._url = _http.url_of(_local.URL if _local.is_local(url) else url)
        self._headers = headers
        self._ids = RequestIds()
        self._closed = False
        self._refusal = ""
        self._cookies = CookieJar()
        self._pools = PerLoop(self._new_pool)
        direct = self._transport is None and leads_to(self._url)
        self._lane = AsyncLane(self._url, headers, self._ids) if direct else None
        self._only = None if self._transport is None else self._new_pool()
        _fork.follow(self)

    def _new_pool(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self._url, headers=self._headers, cookies=self._cookies, transport=self._transport
        )

    def after_fork(self) -> None:
        """Leave the pools to the parent. They are kept, for their end would say goodbye in the parent's name."""
        _http.LEFT_TO_THE_PARENT.append((self._pools.forget(), self._transport))
        self._cookies = _http.copied(self._cookies)
        if self._transport is not None:
            self._refusal = _local.FORKED if isinstance(self._transport, _local.AsyncTransport) else _http.FORKED

    async def exchange(self, request: Request, limits: httpx2.Timeout) -> Outcome:
        """One try: the answer, or why there is none."""
        if self._lane is not None and self._lane.takes(request):
            return await self._lane.exchange(request, limits)
        request_id = self._ids.new()
        headers = {**_http.headers_of(request), _request_ids.HEADER: request_id}
        if self._lane is not None and _http.is_of_a_file(request):
            headers["connection"] = "close"  # nothing is left in a loop that may end without a word
        try:
            async with self._httpx().stream(
                request.method,
                request.path,
                params=request.query,
                headers=headers,
                content=_http.whole(request.body) if isinstance(request.body, Sequence) else _chunks(request.body),
                timeout=limits,
            ) as response:
                if other := self._ids.foreign(request_id, response.status_code, response.headers):
                    return _http.foreign_answer(_http.where(response.request), request_id, other)
                if request.into is None or not response.is_success:
                    return _http.answer(response, await response.aread())
                await _write(request.into, response)
                return _http.answer(response, b"")
        except httpx2.RequestError as error:
            return _http.connection_error(error)

    async def close(self) -> None:
        """Close the connections of this process; HTTPX's of other loops end with those."""
        self._closed = True
        pools = self._pools.forget()
        mine = self._only or pools.get(asyncio.get_running_loop())
        if mine is not None and not self._refusal:
            await mine.aclose()
        if self._lane is not None:
            self._lane.close()

    def _httpx(self) -> httpx2.AsyncClient:
        if self._closed or self._refusal:
            raise RuntimeError(self._refusal or "the client is closed")
        return self._only or self._pools.get()


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, _http.CHUNK_BYTES):
        yield chunk


async def _write(file: BinaryIO, response: httpx2.Response) -> None:
    file.seek(0)
    file.truncate()
    async for chunk in response.aiter_bytes(_http.CHUNK_BYTES):
        await asyncio.to_thread(file.write, chunk)
