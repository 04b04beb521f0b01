"""The transport to a service in this process, for notebooks and tests: `Client("memory:")`, `AsyncClient("lmdb:PATH")`.

The service lives in a thread with an event loop of its own, so that one piece of code serves both twins. The server is
imported when a client first asks for it: it is not a dependency of this library.
"""

import asyncio
import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import httpx2
import numpy as np

from optim_client import _fork, _http
from optim_client._async_httpx import AsyncHttpx
from optim_client._protocol import Outcome, Request
from optim_client._regions import Memory
from optim_client._request_ids import RequestIds
from optim_client._transport import CLOSED
from optim_client.errors import APIConnectionError

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
        return self._service.answer(request, timeout)

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
        return await asyncio.wrap_future(self._service.exchange(request, timeout))

    async def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory of this process."""
        return np.empty(nbytes, np.uint8)

    async def close(self) -> None:
        """Stop the service."""
        await asyncio.to_thread(self._service.close)


class _Service:
    """The service and its thread. It starts when constructed and lives until `close`, or as long as the process."""

    def __init__(self, store: str, headers: Mapping[str, str]) -> None:
        app = _create_app(store)
        self._httpx = AsyncHttpx(URL, headers, RequestIds(), httpx2.ASGITransport(app, raise_app_exceptions=False))
        self._refusal = ""
        self._lock = threading.RLock()
        """Held while a call is handed to the loop, so that none comes after the loop's end and is never answered.

        A signal's handler may take it in the middle of that, for a call of its own.
        """
        self._loop = asyncio.new_event_loop()
        self._tasks = set[asyncio.Task[Outcome]]()
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

    def exchange(self, request: Request, timeout: httpx2.Timeout) -> Future[Outcome]:
        """Begin an exchange on the service's loop. Raises `RuntimeError` after `close` and after a fork."""
        own = _own(request)
        with self._lock:
            self._check_open()
            return asyncio.run_coroutine_threadsafe(self._exchange(own, timeout), self._loop)

    def answer(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Exchange on the service's loop, and wait for the end. Raises as `exchange`.

        A signal's handler may do the same in the middle of this. So it waits at a queue, not at a future: the handler
        could come while this thread holds the future's lock, which the loop needs to go on.
        """
        own, ended = _own(request), SimpleQueue[asyncio.Task[Outcome]]()
        with self._lock:
            self._check_open()
            self._loop.call_soon_threadsafe(self._begin, own, timeout, ended.put)
        return ended.get().result()

    def _begin(self, request: Request, timeout: httpx2.Timeout, tell: Callable[[asyncio.Task[Outcome]], None]) -> None:
        """Begin an exchange in the loop, and tell its end."""
        task = self._loop.create_task(self._exchange(request, timeout))
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

    async def _exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Exchange on the loop. Its end cancels what is under way, which must not cancel the caller's task."""
        try:
            return await self._httpx.exchange(request, timeout)
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
            return APIConnectionError(f"{request.method} {request.path}: the client was closed", may_pass=False)

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
