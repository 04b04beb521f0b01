"""The floor, the least work of a step: a bare socket for the bytes, torch's fused step for the arrays, and for a saved
state bare `SET`s of 1 MiB each into Redis. No protocol, no checks, no history.

`python -m benchmarks.peers.floor REDIS_PORT THREADS` is the other process; it prints its port. A request is one byte
for the kind, eight for the length, and that many bytes; the answer has the same length.
"""

import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from benchmarks.peers.process import python
from benchmarks.peers.session import Session, Step
from benchmarks.peers.torch_adamw import TorchAdamW
from optim_engine.arrays import Array

HEAD = struct.Struct("<BQ")
EXCHANGE, HOLD, STEP, STEP_AND_SAVE = range(4)
PIECE_BYTES = 1 << 20


@contextmanager
def floor(redis_port: int, threads: int) -> Iterator[dict[str, Session]]:
    """Start the floor; yield its sessions: `exchange` takes no step, `memory` saves nothing, `redis` does all."""
    with python("-m", "benchmarks.peers.floor", str(redis_port), str(threads)) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        kinds = {"exchange": EXCHANGE, "memory": STEP, "redis": STEP_AND_SAVE}
        yield {name: _sessions(port, wanted) for name, wanted in kinds.items()}


def _sessions(port: int, wanted: int) -> Session:
    @contextmanager
    def session(params: Array, grads: Array) -> Iterator[Step]:
        answer = np.empty_like(params)
        with _connected(port) as connection:

            def ask(kind: int, array: Array) -> Array:
                connection.sendall(HEAD.pack(kind, array.nbytes))
                connection.sendall(array)
                read_into(connection, memoryview(answer).cast("B"))
                return answer

            ask(HOLD, params)
            yield Step(lambda: ask(wanted, grads), None if wanted == EXCHANGE else np.asarray)

    return session


class FloorServer:
    """A connection of the other process, with its buffer, its optimizer and its connection to Redis."""

    def __init__(self, connection: socket.socket, redis_port: int) -> None:
        self._connection = connection
        self._redis = _connected(redis_port)
        self._buffer = np.empty(0, np.uint8)

    def serve(self) -> None:
        """Answer until the client disconnects."""
        head = memoryview(bytearray(HEAD.size))
        while read_into(self._connection, head):
            kind, length = HEAD.unpack(head)
            if len(self._buffer) != length:
                self._buffer = np.empty(length, np.uint8)
            read_into(self._connection, memoryview(self._buffer))
            self._connection.sendall(self._answer(kind))

    def _answer(self, kind: int) -> Array:
        if kind == EXCHANGE:
            return self._buffer
        came = torch.from_numpy(self._buffer.view(np.float32))
        if kind == HOLD:
            self._optimizer = TorchAdamW(came)
            return self._buffer
        params = self._optimizer.step(came).numpy()
        if kind == STEP_AND_SAVE:
            save(self._redis, self._optimizer.state())
        return params


def save(redis: socket.socket, arrays: list[Array]) -> None:
    """Send a `SET` for each piece, always with the same keys, then read all answers."""
    expected = b""
    for i, array in enumerate(arrays):
        whole = memoryview(array).cast("B")
        for start in range(0, len(whole), PIECE_BYTES):
            piece = whole[start : start + PIECE_BYTES]
            key = b"floor:%d:%d" % (i, start)
            redis.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(key), key, len(piece)))
            redis.sendall(piece)
            redis.sendall(b"\r\n")
            expected += b"+OK\r\n"
    answers = bytearray(len(expected))
    read_into(redis, memoryview(answers))
    if answers != expected:
        raise RuntimeError(f"Redis did not save: {bytes(answers[:200])!r}")


def read_into(connection: socket.socket, buffer: memoryview) -> bool:
    """Fill the buffer; return False if the other side closed before."""
    while buffer:
        count = connection.recv_into(buffer)
        if count == 0:
            return False
        buffer = buffer[count:]
    return True


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def main(redis_port: int, threads: int) -> None:
    torch.set_num_threads(threads)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = FloorServer(connection, redis_port)
            threading.Thread(target=server.serve, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
