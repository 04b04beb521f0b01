"""A request as a server hands it over."""

import json
from typing import Any


class Connection:
    """One request as a server hands it over, byte by byte; keeps what is sent back."""

    def __init__(self, *messages: dict[str, Any], headers: dict[str, str]) -> None:
        self.messages = list(messages)
        self.headers = {"host": "localhost", **headers}
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def ask(self, app: Any) -> tuple[int, dict[str, Any]]:
        raw = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": "/v1/sessions", "raw_path": b"/v1/sessions", "query_string": b"", "root_path": "",
            "headers": raw, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip
        await app(scope, self.receive, self.send)
        return self.sent[0]["status"], json.loads(b"".join(part.get("body", b"") for part in self.sent[1:]))
