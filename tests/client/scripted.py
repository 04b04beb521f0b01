"""A real HTTP server on a free port that answers by a script, and keeps the requests that it saw."""

import json
import threading
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.client.documents import SESSION, W, stepped


@dataclass(frozen=True)
class Answer:
    """An answer.

    `cut` sends only so many bytes of the body, then closes; `late` waits so many seconds first. `echo` is the place
    of the request whose id it has: -1 is this one, -2 the one before.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    late: float = 0.0
    echo: int = -1


DROP = None
"""Close the connection without an answer."""
SESSION_ANSWER = Answer(body=json.dumps(SESSION).encode())
STEPPED = Answer(body=stepped(W, step=42).body)
BUSY = Answer(503, b'{"code": "overloaded", "detail": "busy"}', {"Retry-After": "0"})


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedServer:
    """A server with a script. Requests after an answer with a status of `resent`, as a platform sends, get it again."""

    def __init__(self, *script: Answer | None, port: int = 0, resent: Collection[int] = ()) -> None:
        self.script = deque(script)
        self._resent = resent
        self._last: Answer | None = None
        self.seen: list[Seen] = []
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append(Seen(self.command, self.path, headers, body))
                answer = outer.next_answer()
                standard = {} if answer is None else outer.standard_headers(answer, headers)
                if answer is None or outer._closing.wait(answer.late):
                    self.close_connection = True
                    return
                self.send_response_only(answer.status)
                for name, value in {**standard, **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body[: answer.cut])
                self.close_connection = answer.cut is not None

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def next_answer(self) -> Answer | None:
        """Return the answer to the request that was seen last."""
        if self._last is None or self._last.status not in self._resent:
            self._last = self.script.popleft()
        return self._last

    def standard_headers(self, answer: Answer, of: Mapping[str, str]) -> dict[str, str]:
        """Return the length of an answer, and the id of its request if that had one."""
        headers = {"Content-Length": str(len(answer.body))}
        request_id = (of if answer.echo == -1 else self.seen[answer.echo].headers).get("x-request-id")
        return headers if request_id is None else {**headers, "X-Request-ID": request_id}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def session_of(client: Any) -> Any:
    """Return the session that `SESSION_ANSWER` shows."""
    return client.sessions.get("s-1")
