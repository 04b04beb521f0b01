"""The seam between a client and its connections: a try of a request, memory for gradients, and the end.

To add a transport: a class for each of these two protocols, a row in `_transports.py` and in `_async_transports.py`,
and the form of its address in `_address.py`.

Both kinds share these rules. A client and its `with_options` share one transport. A forked process never uses an
inherited connection: the transport opens its own ones there, or raises `RuntimeError`. After `close`, `exchange` raises
`RuntimeError`.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import httpx2

from optim_client._protocol import Outcome, Request, Response
from optim_client._regions import Memory

CLOSED = "the client is closed"


class Stream(Protocol):
    """An answer without an end: its parts as they come. `head` is the answer without its body."""

    head: Response

    def __iter__(self) -> Iterator[bytes]:
        """Wait for each part; yield it. Raises `APIConnectionError` if the connection breaks."""

    def close(self) -> None:
        """Free the connection. A second call does nothing."""


class AsyncStream(Protocol):
    """A `Stream` for async code."""

    head: Response

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Wait for each part; yield it. Raises `APIConnectionError` if the connection breaks."""

    async def close(self) -> None:
        """Free the connection. A second call does nothing."""


class Transport(Protocol):
    """A `Client`'s connections, for many threads."""

    def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""

    def open(self, request: Request, timeout: httpx2.Timeout) -> Outcome | Stream:
        """Send one try of a request; return the stream that answers it. Returns any other answer as `exchange` does."""

    def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory for a request's arrays, and `before` it room for a header if it is shared with the service."""

    def close(self) -> None:
        """Close the connections of this process. A second call does nothing."""


class AsyncTransport(Protocol):
    """An `AsyncClient`'s connections, for many tasks and for several event loops, one after the other."""

    async def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""

    async def open(self, request: Request, timeout: httpx2.Timeout) -> Outcome | AsyncStream:
        """Send one try of a request; return the stream that answers it. Returns any other answer as `exchange` does."""

    async def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory for a request's arrays, and `before` it room for a header if it is shared with the service."""

    async def close(self) -> None:
        """Close the connections of this process. A second call does nothing."""
