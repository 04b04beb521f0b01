"""HTTPX's way to an ASGI application in this process whose answers have no end.

HTTPX's own `ASGITransport` waits for the end of an answer. It is faster, and takes all other requests.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import httpx2

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class StreamingTransport(httpx2.AsyncBaseTransport):
    """A transport of HTTPX to an application, which passes on each part of an answer as it comes."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._tasks = set[asyncio.Task[None]]()
        """The answers under way: the loop itself keeps no task from the garbage collection."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request without a body; return the answer as soon as it begins."""
        body: httpx2.AsyncByteStream | None = None

        async def begin(scope: Message, _: Receive, send: Send) -> None:
            nonlocal body
            body = answer = _Answer(self._app, scope)
            self._tasks.add(answer.task)
            answer.task.add_done_callback(self._tasks.discard)
            await send(await answer.started())
            await send({"type": "http.response.body"})

        head = await httpx2.ASGITransport(begin).handle_async_request(request)
        return httpx2.Response(head.status_code, headers=head.headers, stream=body)


class _Answer(httpx2.AsyncByteStream):
    """An answer under way. The application waits until each part is taken, so nothing piles up."""

    def __init__(self, app: App, scope: Message) -> None:
        self._messages = asyncio.Queue[Message | None]()
        self.task = asyncio.create_task(self._run(app, scope))

    async def started(self) -> Message:
        """Return the first message, which has the status and the headers."""
        message = await self._messages.get()
        self._messages.task_done()
        if message is None:
            raise httpx2.RemoteProtocolError("the application ended without an answer")
        return message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._messages.get()) is not None:
            yield message.get("body", b"")
            self._messages.task_done()

    async def aclose(self) -> None:
        """End the application's work on this answer."""
        self.task.cancel()

    async def _run(self, app: App, scope: Message) -> None:
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                await asyncio.Event().wait()  # a client that leaves cancels the task
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            self._messages.put_nowait(message)
            await self._messages.join()

        try:
            with suppress(asyncio.CancelledError):
                await app(scope, receive, send)
        finally:
            self._messages.put_nowait(None)
