"""The events of a session as they happen, for async code: `_events.py` with `await`."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Self

from optim_client import _calls
from optim_client._async_storage import AsyncCaller
from optim_client._event import Event
from optim_client._following import Following
from optim_client._transport import AsyncStream
from optim_client.errors import APIConnectionError, SessionNotFound


class AsyncEvents:
    """The events of a session as they happen, made by `session.events()`. Ends when the session is gone.

    It waits for each event. It reconnects by itself, and continues after the last event. As a context manager it
    connects on entry, sees what happens from then on, and closes at the end. It is for one task.

    Example:
        async with session.events(after=0) as events:
            async for event in events:
                print(event.number, event.kind, event.step)
                break
    """

    def __init__(self, client: AsyncCaller, session_id: str, after: int | None) -> None:
        self._client = client
        self._session_id = session_id
        self._following = Following(after)
        self._stream: AsyncStream | None = None
        self._events = self._follow()

    async def _connect(self) -> AsyncStream:
        if pause := self._following.pause():
            await asyncio.sleep(pause)
        self._stream = await self._client._open(_calls.events(self._session_id, self._following.number))
        self._following.begin()
        return self._stream

    async def _follow(self) -> AsyncGenerator[Event]:
        following = self._following
        while True:
            try:
                stream = self._stream or await self._connect()
            except SessionNotFound:
                if following.has_begun:
                    return
                raise
            try:
                async for data in stream:
                    for event in following.events(data):
                        yield event
            except APIConnectionError:
                pass
            finally:
                await self._disconnect()

    async def _disconnect(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection. No event follows.

        Example:
            events = session.events()
            await events.close()
        """
        await self._events.aclose()
        await self._disconnect()
