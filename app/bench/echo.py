"""The echo: a process that answers each request with as many bytes, and does nothing else."""

import re
import socket
import subprocess
import sys
from threading import Thread
from typing import Self

READ_BYTES = 1 << 20
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Echo:
    """The process, within a `with` block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.bench.echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.address = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def serve(listener: socket.socket) -> None:
    """Answer each connection on a thread of its own."""
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Thread(target=_answer, args=[connection], daemon=True).start()


def _answer(connection: socket.socket) -> None:
    buffer = memoryview(bytearray(READ_BYTES))
    head = body = b""
    while count := connection.recv_into(buffer):
        head += buffer[:count]
        if (end := head.find(b"\r\n\r\n")) < 0:
            continue
        found = LENGTH.search(head)
        length = int(found[1]) if found else 0
        missing = length - (len(head) - end - 4)
        while missing > 0 and (count := connection.recv_into(buffer)):
            missing -= count
        if len(body) != length:
            body = bytes(length)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        connection.sendall(body)
        head = b""


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as own:
        print(own.getsockname()[1], flush=True)
        Thread(target=serve, args=[own], daemon=True).start()
        sys.stdin.read()  # until the bench ends, however it does
