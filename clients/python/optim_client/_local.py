"""The service in this process, for notebooks and tests: `Client("memory:")`, `AsyncClient("lmdb:PATH")`.

It lives in a thread with an event loop of its own, so that one piece of code serves both clients; their transports
hand it requests. The server is imported when it is first asked for: it is not a dependency of this library.
"""

import asyncio
import importlib
import threading
from concurrent.futures import Future
from typing import Any

import httpx2

URL = "http://localhost"
FORKED = (
    "the service of this client runs in the process that made the client, and this process was forked from it: "
    "start the service with `optim serve` and give its URL to the processes that share it"
)


def is_local(url: str) -> bool:
    return url.startswith(("memory:", "lmdb:"))


class Service:
    """Started when constructed, on the store that is named; it lives until `close`, or as long as the process."""

    def __init__(self, store: str) -> None:
        app = _create_app(store)
        self._asgi = httpx2.ASGITransport(app, raise_app_exceptions=False)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._live, args=(app, started), name="optim-service", daemon=True)
        self._thread.start()
        started.result()

    def answer(self, request: httpx2.Request) -> Future[httpx2.Response]:
        """Answer a request whose body has been read."""
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop)

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._asgi.handle_async_request(request)
        body = await response.aread()
        return httpx2.Response(response.status_code, headers=response.headers, content=body)

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


class Transport(httpx2.BaseTransport):
    """Hands the requests of a `Client` to the service."""

    def __init__(self, store: str) -> None:
        self._service = Service(store)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        return self._service.answer(request).result()

    def close(self) -> None:
        self._service.close()


class AsyncTransport(httpx2.AsyncBaseTransport):
    """Hands the requests of an `AsyncClient` to the service."""

    def __init__(self, store: str) -> None:
        self._service = Service(store)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        return await asyncio.wrap_future(self._service.answer(request))

    async def aclose(self) -> None:
        await asyncio.to_thread(self._service.close)


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
