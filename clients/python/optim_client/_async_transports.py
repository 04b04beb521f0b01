"""An async client's transport, by the scheme of its URL: `_transports.py` with `await`."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import httpx2

from optim_client._address import scheme_of, socket_of, url_of
from optim_client._async_httpx import AsyncHttpx
from optim_client._async_lane import AsyncLane
from optim_client._http import is_of_a_file
from optim_client._lane import leads_to
from optim_client._local import AsyncLocal
from optim_client._protocol import Outcome, Request
from optim_client._regions import Memory
from optim_client._request_ids import RequestIds
from optim_client._transport import AsyncStream, AsyncTransport

Open = Callable[[str, Mapping[str, str], httpx2.AsyncBaseTransport | None], AsyncTransport]
"""A function from an address, the headers of every request and the user's own HTTPX transport to a transport."""


class AsyncDirect:
    """An `AsyncTransport` that sends arrays through the lane, and leaves files and cookies to HTTPX."""

    def __init__(self, url: httpx2.URL, headers: Mapping[str, str], path: str = "") -> None:
        ids = RequestIds()
        self._lane = AsyncLane(url, headers, ids, path)
        self._httpx = AsyncHttpx(url, headers, ids, path=path)

    async def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""
        if is_of_a_file(request):
            return await self._httpx.exchange(_last(request), timeout)
        if self._lane.sets_cookies:
            return await self._httpx.exchange(request, timeout)
        return await self._lane.exchange(request, timeout)

    async def open(self, request: Request, timeout: httpx2.Timeout) -> Outcome | AsyncStream:
        """Send one try of a request; return the stream that answers it. Returns any other answer as `exchange` does."""
        return await self._httpx.open(_last(request), timeout)

    async def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory for a request's arrays, in a region where the lane has one."""
        return await self._lane.empty(nbytes, before, timeout)

    async def close(self) -> None:
        """Close the connections of this process."""
        await self._httpx.close()
        await self._lane.close()


def _last(request: Request) -> Request:
    """Return the request as the last of its connection: the event loop may end before a pool is closed."""
    return replace(request, headers={**request.headers, "connection": "close"})


def open_transport(url: str, headers: Mapping[str, str], transport: httpx2.AsyncBaseTransport | None) -> AsyncTransport:
    """Return the transport to an address that `_address.base_url` has checked."""
    return TRANSPORTS[scheme_of(url)](url, headers, transport)


def _over_http(url: str, headers: Mapping[str, str], transport: httpx2.AsyncBaseTransport | None) -> AsyncTransport:
    service = url_of(url)
    if transport is None and leads_to(service):
        return AsyncDirect(service, headers)
    return AsyncHttpx(service, headers, RequestIds(), transport)


def _over_unix(url: str, headers: Mapping[str, str], transport: httpx2.AsyncBaseTransport | None) -> AsyncTransport:
    service = url_of(url)
    if transport is None:
        return AsyncDirect(service, headers, socket_of(url))
    return AsyncHttpx(service, headers, RequestIds(), transport)


def _in_process(url: str, headers: Mapping[str, str], _: object) -> AsyncTransport:
    return AsyncLocal(url, headers)


TRANSPORTS: Mapping[str, Open] = {
    "http": _over_http,
    "https": _over_http,
    "unix": _over_unix,
    "memory": _in_process,
    "lmdb": _in_process,
}
"""Every transport by the scheme of its URL."""
