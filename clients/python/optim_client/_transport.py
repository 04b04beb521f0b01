"""The seam between a client and its connections: a try of a request, memory for gradients, and the end.

To add a transport: a class for each of these two protocols, a row in `_transports.py` and in `_async_transports.py`,
and the form of its address in `_address.py`.

Both kinds share these rules. A client and its `with_options` share one transport. A forked process never uses an
inherited connection: the transport opens its own ones there, or raises `RuntimeError`. After `close`, `exchange` raises
`RuntimeError`.
"""

from typing import Protocol

import httpx2

from optim_client._protocol import Outcome, Request
from optim_client._regions import Memory

CLOSED = "the client is closed"


class Transport(Protocol):
    """A `Client`'s connections, for many threads."""

    def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""

    def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory for a request's arrays, and `before` it room for a header if it is shared with the service."""

    def close(self) -> None:
        """Close the connections of this process. A second call does nothing."""


class AsyncTransport(Protocol):
    """An `AsyncClient`'s connections, for many tasks and for several event loops, one after the other."""

    async def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""

    async def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory for a request's arrays, and `before` it room for a header if it is shared with the service."""

    async def close(self) -> None:
        """Close the connections of this process. A second call does nothing."""
