"""An application behind a real socket: uvicorn with the bulk lane, in a thread, and requests as bytes."""

import asyncio
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from app.web.connection import Connection
from app.web.deadlines import Timeouts
from app.web.pacing import Pacing

TIMEOUT_SECONDS = 30.0
DEADLINES = {"head_seconds": 60.0, "body_seconds": 60.0, "answer_seconds": 60.0}
URGENT = "/urgent"
HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)


class NotStarted(Exception):
    """A start that the application refused, or that failed."""


@contextmanager
def listening(
    app: ASGIApp,
    loop: str = "uvloop",
    tls: ssl.SSLContext | None = None,
    keep_alive: int = 5,
    send_buffer: int | None = None,
    **deadlines: float,
) -> Iterator[tuple[str, int]]:
    """Return the address of a server that runs `app` until the block ends. Raises `NotStarted`."""
    config = uvicorn.Config(
        app,
        http=partial(Connection, timeouts=Timeouts(**DEADLINES | deadlines), pacing=Pacing({URGENT})),  # type: ignore[arg-type]
        loop=loop,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=1,
    )
    config.load()
    config.ssl = tls
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if send_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        server = uvicorn.Server(config)
        thread = Thread(target=partial(_serve, server, config, listener))
        thread.start()
        try:
            while not server.started:
                thread.join(0.005)
                if not thread.is_alive():
                    raise NotStarted("the application did not start: its log says why")
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def _serve(server: uvicorn.Server, config: uvicorn.Config, listener: socket.socket) -> None:
    server.capture_signals = _not_here  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve([listener]))


@contextmanager
def _not_here() -> Iterator[None]:
    """Only a main thread has signals."""
    yield


class Wire:
    """A connection on which bytes go out as they are given, and answers come back."""

    def __init__(self, address: tuple[str, int], wrap: Callable[[socket.socket], socket.socket] = lambda s: s) -> None:
        self.socket = wrap(socket.create_connection(address, timeout=TIMEOUT_SECONDS))
        self._read = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """The status and body of the next answer, which may be an interim one."""
        head, body = self._answer()
        return int(head[1]), body

    def refusal(self) -> tuple[bytes, Any]:
        """The head of the next answer, and the problem that is its body."""
        head, body = self._answer()
        return head[0], json.loads(body)

    def _answer(self) -> tuple[re.Match[bytes], bytes]:
        while (head := HEAD.match(self._read)) is None:
            self._read += self._receive()
        length = re.search(rb"content-length: (\d+)", head[0])
        end = head.end() + (int(length[1]) if length else 0)
        while len(self._read) < end:
            self._read += self._receive()
        body, self._read = self._read[head.end() : end], self._read[end:]
        return head, body

    def is_closed(self) -> bool:
        """Wait until the other side closes, and say whether it did so without another answer."""
        try:
            return not self._read and not self.socket.recv(1)
        except ConnectionResetError:
            return True

    def _receive(self) -> bytes:
        data = self.socket.recv(1 << 16)
        assert data, f"closed after {self._read!r}"
        return data


def wait_until(holds: Callable[[], bool], shown: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, shown()
        time.sleep(0.01)


def post(path: str, body: bytes, **headers: Any) -> bytes:
    """A request with its length announced."""
    return _head(path, {"content-length": len(body), **headers}) + body


def post_chunked(path: str, parts: list[bytes]) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
    return _head(path, {"transfer-encoding": "chunked"}) + body + b"0\r\n\r\n"


def _head(path: str, headers: dict[str, Any]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "host: localhost",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()
