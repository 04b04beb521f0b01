"""A client's transport, by the scheme of its URL. `_async_transports.py` is the same with `await`."""

from collections.abc import Callable, Mapping

import httpx2

from optim_client._address import scheme_of, socket_of, url_of
from optim_client._http import is_of_a_file
from optim_client._httpx import Httpx
from optim_client._lane import Lane, leads_to
from optim_client._local import Local
from optim_client._protocol import Outcome, Request
from optim_client._regions import Memory
from optim_client._request_ids import RequestIds
from optim_client._transport import Stream, Transport

Open = Callable[[str, Mapping[str, str], httpx2.BaseTransport | None], Transport]
"""A function from an address, the headers of every request and the user's own HTTPX transport to a transport."""


class Direct:
    """A `Transport` that sends arrays through the lane, and leaves files and cookies to HTTPX."""

    def __init__(self, url: httpx2.URL, headers: Mapping[str, str], path: str = "") -> None:
        ids = RequestIds()
        self._lane = Lane(url, headers, ids, path)
        self._httpx = Httpx(url, headers, ids, path=path)

    def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""
        if is_of_a_file(request) or self._lane.sets_cookies:
            return self._httpx.exchange(request, timeout)
        return self._lane.exchange(request, timeout)

    def open(self, request: Request, timeout: httpx2.Timeout) -> Outcome | Stream:
        """Send one try of a request; return the stream that answers it. Returns any other answer as `exchange` does."""
        return self._httpx.open(request, timeout)

    def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory for a request's arrays, in a region where the lane has one."""
        return self._lane.empty(nbytes, before, timeout)

    def close(self) -> None:
        """Close the connections of this process."""
        self._httpx.close()
        self._lane.close()


def open_transport(url: str, headers: Mapping[str, str], transport: httpx2.BaseTransport | None) -> Transport:
    """Return the transport to an address that `_address.base_url` has checked."""
    return TRANSPORTS[scheme_of(url)](url, headers, transport)


def _over_http(url: str, headers: Mapping[str, str], transport: httpx2.BaseTransport | None) -> Transport:
    service = url_of(url)
    if transport is None and leads_to(service):
        return Direct(service, headers)
    httpx = Httpx(service, headers, RequestIds(), transport)
    httpx.pool()  # opened now, so that a wrong proxy fails here and not in the first call
    return httpx


def _over_unix(url: str, headers: Mapping[str, str], transport: httpx2.BaseTransport | None) -> Transport:
    service = url_of(url)
    if transport is None:
        return Direct(service, headers, socket_of(url))
    return Httpx(service, headers, RequestIds(), transport)


def _in_process(url: str, headers: Mapping[str, str], _: object) -> Transport:
    return Local(url, headers)


TRANSPORTS: Mapping[str, Open] = {
    "http": _over_http,
    "https": _over_http,
    "unix": _over_unix,
    "memory": _in_process,
    "lmdb": _in_process,
}
"""Every transport by the scheme of its URL."""
