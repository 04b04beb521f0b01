"""Clients that follow a session's events, over a real socket."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2
from httpx2 import Client

from tests.web.sockets import TIMEOUT_SECONDS


class Seen(NamedTuple):
    """An event, or with an empty `kind` the place at which a stream begins; `data` is its JSON."""

    kind: str
    number: int
    data: Any


class Follower:
    """A stream of events under way: iterate over it, or ask for the `next` ones."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self.comments = list[str]()
        self._events = self._read(answer.iter_lines())

    def __iter__(self) -> Iterator[Seen]:
        return self._events

    def next(self, count: int = 1) -> list[Seen]:
        """Return so many events, and wait for them."""
        return [next(self._events) for _ in range(count)]

    def _read(self, lines: Iterator[str]) -> Iterator[Seen]:
        fields = dict[str, str]()
        for line in lines:
            if line.startswith(":"):
                self.comments.append(line)
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield Seen(fields.get("event", ""), int(fields["id"]), json.loads(fields.get("data", "null")))
                fields = {}


@contextmanager
def following(client: Client, session: str, after: int | None = None) -> Iterator[Follower]:
    """Yield a follower whose stream has begun: behind an event, or now."""
    headers = {} if after is None else {"last-event-id": str(after)}
    with client.stream("GET", f"{session}/events", headers=headers, timeout=TIMEOUT_SECONDS) as answer:
        assert answer.status_code == 200, answer.read()
        yield Follower(answer)
