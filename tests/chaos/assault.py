"""An attack with hostile bodies: a service must answer each with 2xx or a typed 4xx.

Each answer is checked as it comes. From time to time the sessions are read whole and replaced by new ones, so that
memory can grow by the service's fault alone. Knows no transport: it is given a function that sends a request.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias
from urllib.parse import urljoin

from starlette.types import ASGIApp, Message

from app.errors import ERRORS
from tests.chaos.mutation import JSON, LISTS, Request, corpus, mutated

RENEWED_EVERY = 200
"""Requests to one pair of sessions."""
LONGEST_REFUSAL = 2048
"""Bytes: an error never contains an array."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


Ask: TypeAlias = Callable[[Request], Awaitable[Answer]]


def directly(app: ASGIApp) -> Ask:
    """Return a function that calls an application as a server would, without a socket."""

    async def ask(request: Request) -> Answer:
        started: Message = {}
        bodies, parts = [request.body], list[bytes]()

        async def receive() -> Message:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        async def send(message: Message) -> None:
            started.update(message)
            parts.append(message.get("body", b""))

        headers = [
            (b"host", b"localhost"),
            (b"content-type", request.media_type.encode()),
            (b"content-length", b"%d" % len(request.body)),
        ]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method,
            "scheme": "http", "path": request.path, "raw_path": request.path.encode(), "query_string": b"",
            "root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip
        await app(scope, receive, send)
        headers_back = {name.decode(): value.decode() for name, value in started["headers"]}
        return Answer(started["status"], headers_back, b"".join(parts))

    return ask


class Assault:
    """A sender of tampered bodies. `statuses` counts the answers, `slowest` is the longest wait in seconds."""

    def __init__(self, ask: Ask, chance: random.Random) -> None:
        self._ask = ask
        self._chance = chance
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0

    async def run(self, requests: int) -> None:
        for _ in range(requests // RENEWED_EVERY):
            await self._on_new_sessions()
        left = json.loads((await self._must("GET", "/v1/sessions")).body)
        assert left["sessions"] == []

    async def _on_new_sessions(self) -> None:
        plain, held = await self._created(hold_params=False), await self._created(hold_params=True)
        await self._must("PUT", f"{held}/params", {"params": LISTS})
        await self._must("POST", f"{held}/steps", {"grads": LISTS})
        valid = corpus((await self._must("GET", f"{held}/state")).body)
        for _ in range(RENEWED_EVERY):
            request = mutated(self._chance.choice(valid), valid, self._chance)
            await self._judged(request._replace(path=request.path.format(plain=plain, held=held)))
        for path in (plain, held, f"{plain}/state", f"{held}/state", f"{held}/params", f"{plain}/history"):
            assert (await self._ask(Request("GET", path, JSON, b""))).status in (200, 404)  # it may have expired
        for path in (plain, held):
            await self._ask(Request("DELETE", path, JSON, b""))

    async def _judged(self, request: Request) -> None:
        started = time.perf_counter()
        answer = await self._ask(request)
        self.slowest = max(self.slowest, time.perf_counter() - started)
        self.statuses[answer.status] += 1
        if answer.status == 201:
            await self._ask(Request("DELETE", urljoin(request.path, answer.headers["location"]), JSON, b""))
        if answer.status >= 400:
            document = json.loads(answer.body)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.status == document["status"] == ERRORS[document["code"]].status < 500, (request, answer)
            assert len(answer.body) < LONGEST_REFUSAL, (request, answer)

    async def _created(self, *, hold_params: bool) -> str:
        settings = {"optimizer": "adamw", "on_non_finite": "skip", "hold_params": hold_params, "undo": 2}
        return f"/v1/{(await self._must('POST', '/v1/sessions', settings)).headers['location']}"

    async def _must(self, method: str, path: str, document: object = None) -> Answer:
        answer = await self._ask(Request(method, path, JSON, json.dumps(document).encode() if document else b""))
        assert answer.status < 300, answer
        return answer
