"""The events of a session as they happen. `_async_events.py` is the same with `await`; both use `_following.py`."""

import time
from collections.abc import Generator
from typing import Self

from optim_client import _calls
from optim_client._event import Event
from optim_client._following import Following
from optim_client._storage import Caller
from optim_client._transport import Stream
from optim_client.errors import APIConnectionError, SessionNotFound


class Events:
    """The events of a session as they happen, made by `session.events()`. Ends when the session is gone.

    It waits for each event. It reconnects by itself, and continues after the last event. As a context manager it
    connects on entry, sees what happens from then on, and closes at the end. It is for one thread.

    Example:
        with session.events(after=0) as events:
            for event in events:
                print(event.number, event.kind, event.step)
                break
    """

    def __init__(self, client: Caller, session_id: str, after: int | None) -> None:
        self._client = client
        self._session_id = session_id
        self._following = Following(after)
        self._stream: Stream | None = None
        self._events = self._follow()

    def _connect(self) -> Stream:
        if pause := self._following.pause():
            time.sleep(pause)
        self._stream = self._client._open(_calls.events(self._session_id, self._following.number))
        self._following.begin()
        return self._stream

    def _follow(self) -> Generator[Event]:
        following = self._following
        while True:
            try:
                stream = self._stream or self._connect()
            except SessionNotFound:
                if following.has_begun:
                    return
                raise
            try:
                for data in stream:
                    yield from following.events(data)
            except APIConnectionError:
                pass
            finally:
                self._disconnect()

    def _disconnect(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. No event follows.

        Example:
            events = session.events()
            events.close()
        """
        self._events.close()
        self._disconnect()
