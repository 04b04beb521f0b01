"""The events of a session from the bytes of its streams, one stream after the other. Knows no socket.

The service sends server-sent events, as the HTML standard defines them. Each stream begins with the number after which
its events come, so that the next stream continues where this one broke off.
"""

import json
import time
from collections.abc import Callable, Iterator

from optim_client._event import Event
from optim_client.errors import InvalidAnswer

KINDS = ("step", "undo", "settings")
"""The known events. Those of a later service are left out."""
PAUSE_SECONDS = 1.0
"""The shortest time between the beginnings of two streams, so that one that ends at once makes no busy loop."""


class Following:
    """The place in the events of a session: the `number` of the last one, `None` before the first stream."""

    def __init__(self, number: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = number
        self.has_begun = False
        """True once a stream was opened. A session that is not found after that was deleted, or has expired."""
        self._clock = clock
        self._opened = -PAUSE_SECONDS
        self._rest = b""
        self._id = number
        self._kind = ""
        self._data = ""

    def pause(self) -> float:
        """Return the seconds to wait before the next stream is opened."""
        return max(0.0, self._opened + PAUSE_SECONDS - self._clock()) if self.has_begun else 0.0

    def begin(self) -> None:
        """Begin a new stream. Drops an event that the last one left unfinished."""
        self.has_begun, self._opened = True, self._clock()
        self._rest, self._id, self._kind, self._data = b"", self.number, "", ""

    def events(self, data: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete. Raises `InvalidAnswer`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                event = self._event(line.removesuffix(b"\r").decode())
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidAnswer(f"an event of the session cannot be read ({error!r}): {line[:200]!r}") from error
            if event is not None:
                yield event

    def _event(self, line: str) -> Event | None:
        """Read a line; return the event that it completes."""
        name, _, value = line.partition(":")
        match name:
            case "id":
                self._id = int(value)
            case "event":
                self._kind = value.strip()
            case "data":
                self._data = value
            case "" if not line:  # only now the event is whole, and its number counts
                kind, data, self._kind, self._data = self._kind, self._data, "", ""
                self.number = self._id
                if kind in KINDS:
                    if self.number is None:
                        raise ValueError("it has no id")
                    return Event.read(self.number, kind, json.loads(data))
        return None
