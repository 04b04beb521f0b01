"""A proxy that kills the server under chosen steps: before it hears of one, or before the client hears its answer."""

import http.client
import threading
from collections.abc import Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.durability.processes import ServerProcess


class Interrupter:
    """A proxy in front of a server. At the steps of these counts it kills that, starts it again, and hangs up."""

    def __init__(self, server: ServerProcess, unheard: Collection[int], unanswered: Collection[int]) -> None:
        self.server = server
        self.unheard = unheard
        self.unanswered = unanswered
        self.steps = 0
        self.kills = 0
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Forwarding,), {"outer": self}))
        self._thread = threading.Thread(target=self._proxy.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._proxy.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.shutdown()
        self._thread.join()
        self._proxy.server_close()

    def restart(self) -> None:
        """Kill the server, and start it again."""
        self.kills += 1
        self.server.kill()
        self.server.start()


class Forwarding(BaseHTTPRequestHandler):
    """The proxy's side of a connection."""

    protocol_version = "HTTP/1.1"
    outer: Interrupter

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.outer.steps += self.path.endswith("/steps")
        if self.outer.steps in self.outer.unheard:
            return self.hang_up()
        answer, content = self.exchange(body)
        if self.outer.steps in self.outer.unanswered:
            assert answer.status == 200
            return self.hang_up()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        return None

    def hang_up(self) -> None:
        """Restart the server, and close the connection without an answer."""
        self.outer.restart()
        self.close_connection = True

    def exchange(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Return the server's answer to this request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.outer.server.port, timeout=30)
        try:
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
