"""The text form of server-sent events, as the HTML standard defines it: `text/event-stream`."""

from collections.abc import Iterable

from app.store.history import Numbered

MEDIA_TYPE = "text/event-stream"
RETRY_MS = 1000
"""The time after which a browser connects again."""
ALIVE = b": alive\n\n"
"""A comment, which keeps proxies from closing a silent connection."""


def opening(number: int) -> bytes:
    """Return the first lines of a stream. They dispatch no event, and give the browser its place: `number`."""
    return b"retry: %d\nid: %d\n\n" % (RETRY_MS, number)


def written(events: Iterable[Numbered]) -> bytes:
    """Return events as text. Their JSON has no line breaks, so each is one line of data."""
    return b"".join(b"event: %b\nid: %d\ndata: %b\n\n" % (kind.encode(), number, body) for number, kind, body in events)
