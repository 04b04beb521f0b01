"""The events of a session as they happen. `_async_events.py` is the same with `await`; both use `_following.py`."""

import time
from collections.abc import Generator
from typing import Self

from optim_client import _calls
from optim_client._event import Event
from optim_client._following import Following
from optim_client._storage import Caller
from optim_client.errors import APIConnectionError, SessionNotFound


class Events:
    """The events of a session as they happen, made by `session.events()`. Ends when the session is gone.

    It waits for each event. It reconnects by itself, and continues after the last event. Close it to free its
    connection, or use it as a context manager. It is for one thread.

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
        self._events = self._follow()

    def _follow(self) -> Generator[Event]:
        following = self._following
        while True:
            if pause := following.pause():
                time.sleep(pause)
            try:
                stream = self._client._open(_calls.events(self._session_id, following.number))
            except SessionNotFound:
                if following.has_begun:
                    return
                raise
            following.begin()
            try:
                for data in stream:
                    yield from following.events(data)
            except APIConnectionError:
                continue
            finally:
                stream.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
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
