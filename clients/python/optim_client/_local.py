"""The transport to a service in this process, for notebooks and tests: `Client("memory:")`, `AsyncClient("lmdb:PATH")`.

The service lives in a thread with an event loop of its own, so that one piece of code serves both twins. The server is
imported when a client first asks for it: it is not a dependency of this library.
"""

import asyncio
import importlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import httpx2
import numpy as np

from optim_client import _fork, _http
from optim_client._asgi import StreamingTransport
from optim_client._async_httpx import AsyncHttpx
from optim_client._protocol import Outcome, Request
from optim_client._regions import Memory
from optim_client._request_ids import RequestIds
from optim_client._transport import CLOSED, AsyncStream
from optim_client.errors import APIConnectionError

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]
"""A function that makes the coroutine of a call, on the service's loop."""

URL = httpx2.URL("http://localhost")
FORKED = (
    "the service of this client runs in the process that made the client, and this process was forked from it: "
    "start the service with `optim serve` and give its URL to the processes that share it"
)


class Local:
    """A `Transport` to a service that it starts in this process."""

    def __init__(self, store: str, headers: Mapping[str, str]) -> None:
        self._service = _Service(store, headers)

    def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""
        return self._service.wait(partial(self._service.exchange, _own(request), timeout))

    def open(self, request: Request, timeout: httpx2.Timeout) -> "Outcome | LocalStream":
        """Send one try of a request; return the stream that answers it. Returns any other answer as `exchange` does."""
        outcome = self._service.wait(partial(self._service.open, request, timeout))
        return outcome if isinstance(outcome, Outcome) else LocalStream(self._service, outcome)

    def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory of this process."""
        return np.empty(nbytes, np.uint8)

    def close(self) -> None:
        """Stop the service."""
        self._service.close()


class AsyncLocal:
    """An `AsyncTransport` to a service that it starts in this process."""

    def __init__(self, store: str, headers: Mapping[str, str]) -> None:
        self._service = _Service(store, headers)

    async def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""
        return await asyncio.wrap_future(self._service.begin(partial(self._service.exchange, _own(request), timeout)))

    async def open(self, request: Request, timeout: httpx2.Timeout) -> "Outcome | AsyncLocalStream":
        """Send one try of a request; return the stream that answers it. Returns any other answer as `exchange` does."""
        outcome = await asyncio.wrap_future(self._service.begin(partial(self._service.open, request, timeout)))
        return outcome if isinstance(outcome, Outcome) else AsyncLocalStream(self._service, outcome)

    async def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory of this process."""
        return np.empty(nbytes, np.uint8)

    async def close(self) -> None:
        """Stop the service."""
        await asyncio.to_thread(self._service.close)


class LocalStream:
    """A `Stream` from the service's loop."""

    def __init__(self, service: "_Service", stream: AsyncStream) -> None:
        self.head = stream.head
        self._service = service
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        parts = aiter(self._stream)
        while part := self._service.wait(partial(self._service.part, parts)):
            yield _unbroken(part)

    def close(self) -> None:
        """Let the service end the answer."""
        self._service.leave(self._stream)


class AsyncLocalStream:
    """An `AsyncStream` from the service's loop."""

    def __init__(self, service: "_Service", stream: AsyncStream) -> None:
        self.head = stream.head
        self._service = service
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = aiter(self._stream)
        while part := await asyncio.wrap_future(self._service.begin(partial(self._service.part, parts))):
            yield _unbroken(part)

    async def close(self) -> None:
        """Let the service end the answer."""
        self._service.leave(self._stream)


class _Service:
    """The service and its thread. It starts when constructed and lives until `close`, or as long as the process."""

    def __init__(self, store: str, headers: Mapping[str, str]) -> None:
        app = _create_app(store)
        self._httpx = AsyncHttpx(URL, headers, RequestIds(), httpx2.ASGITransport(app, raise_app_exceptions=False))
        self._streaming = AsyncHttpx(URL, headers, RequestIds(), StreamingTransport(app))
        self._refusal = ""
        self._lock = threading.RLock()
        """Held while a call is handed to the loop, so that none comes after the loop's end and is never answered.

        A signal's handler may take it in the middle of that, for a call of its own.
        """
        self._loop = asyncio.new_event_loop()
        self._tasks = set[asyncio.Task[Any]]()
        self._stop = asyncio.Event()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._live, args=(app, started), name="optim-service", daemon=True)
        self._thread.start()
        started.result()
        _fork.follow(self)

    def after_fork(self) -> None:
        """Refuse every call: the thread did not come along. The loop is the parent's, and is kept for that."""
        _http.LEFT_TO_THE_PARENT.append(self)
        self._refusal = FORKED
        self._lock = threading.RLock()

    def begin(self, do: Work[T]) -> Future[T]:
        """Begin a call on the service's loop. Raises `RuntimeError` after `close` and after a fork."""
        with self._lock:
            self._check_open()
            return asyncio.run_coroutine_threadsafe(do(), self._loop)

    def wait(self, do: Work[T]) -> T:
        """Make a call on the service's loop, and wait for its end. Raises as `begin`.

        A signal's handler may do the same in the middle of this. So it waits at a queue, not at a future: the handler
        could come while this thread holds the future's lock, which the loop needs to go on.
        """
        ended = SimpleQueue[asyncio.Task[T]]()
        with self._lock:
            self._check_open()
            self._loop.call_soon_threadsafe(self._begin, do, ended.put)
        return ended.get().result()

    def leave(self, stream: AsyncStream) -> None:
        """Close a stream, without waiting: a garbage collection in the loop's own thread may be what closes it."""
        with self._lock:
            if not self._refusal:
                self._loop.call_soon_threadsafe(self._begin, stream.close, _forget)

    def _begin(self, do: Work[T], tell: Callable[[asyncio.Task[T]], None]) -> None:
        """Begin a call in the loop, and tell its end."""
        task = self._loop.create_task(do())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(tell)

    def _check_open(self) -> None:
        if self._refusal:
            raise RuntimeError(self._refusal)

    def close(self) -> None:
        """Stop the service and wait for its end. A later call does no more."""
        with self._lock:
            if not self._refusal:
                self._refusal = CLOSED
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._refusal != FORKED:
            self._thread.join()

    async def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Exchange on the loop."""
        return await self._until_closed(self._httpx.exchange(request, timeout), f"{request.method} {request.path}")

    async def open(self, request: Request, timeout: httpx2.Timeout) -> Outcome | AsyncStream:
        """Open a stream on the loop."""
        return await self._until_closed(self._streaming.open(request, timeout), f"{request.method} {request.path}")

    async def part(self, parts: AsyncIterator[bytes]) -> bytes | APIConnectionError:
        """Return the next part of a stream, nothing at its end."""
        return await self._until_closed(anext(parts, b""), "a stream")

    async def _until_closed(self, work: Awaitable[T], what: str) -> T | APIConnectionError:
        """Return the result. The loop's end cancels what is under way, which must not cancel the caller's task."""
        try:
            return await work
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
            return APIConnectionError(f"{what}: the client was closed", may_pass=False)

    def _live(self, app: Any, started: Future[None]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve(app, started))
            except Exception as error:
                if started.done():
                    raise
                started.set_exception(error)

    async def _serve(self, app: Any, started: Future[None]) -> None:
        async with app.router.lifespan_context(app):
            started.set_result(None)
            await self._stop.wait()
            await self._httpx.close()
            await self._streaming.close()


def _unbroken(part: bytes | APIConnectionError) -> bytes:
    if isinstance(part, APIConnectionError):
        raise part
    return part


def _forget(_: object) -> None:
    """Do nothing with a result."""


def _own(request: Request) -> Request:
    """Return the request with a copy of its body.

    The exchange goes on when its caller is interrupted, who may then change the arrays.
    """
    return replace(request, body=_http.whole(request.body)) if isinstance(request.body, Sequence) else request


def _create_app(store: str) -> Any:
    try:
        create_app = importlib.import_module("app.main").create_app
        settings = importlib.import_module("app.settings").Settings
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"Client({store!r}) runs the service in this process, and the service cannot be imported ({error}): "
            "`pip install ./clients/python .` in a clone of its repository, or give the URL of a service elsewhere"
        ) from error
    return create_app(settings(store=store))
