"""A load generator: it sends requests at a fixed rate, without waiting for earlier answers.

`python -m tests.chaos.load PORT CONNECTIONS RATE SECONDS FILE`: each line of the file is a request, as a JSON string of
Latin-1. The counts of outcomes go to standard output, as JSON. HTTP is handled as bytes, to cost less than the service.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from itertools import cycle
from pathlib import Path

HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
TICK_SECONDS = 0.005


class Load:
    """The connections, and the counts of what happened on them."""

    def __init__(self, port: int, connections: int, requests: list[bytes]) -> None:
        self._port = port
        self._unopened = connections
        self._requests = cycle(requests)
        self._idle: list[Connection] = []
        self.seen: Counter[str] = Counter()
        self.answered = 0

    async def run(self, rate: float, seconds: float) -> None:
        started, due = time.perf_counter(), 0
        async with asyncio.TaskGroup() as opening:
            while (now := time.perf_counter() - started) < seconds:
                fresh, due = int(now * rate) - due, int(now * rate)
                for sent in range(fresh):
                    if self._idle:
                        self._send(self._idle.pop())
                    elif self._unopened:
                        self._unopened -= 1
                        opening.create_task(self._open())
                    else:
                        self.seen["found no connection free"] += fresh - sent
                        break
                await asyncio.sleep(TICK_SECONDS)
        self.seen["requests offered"] = due

    async def _open(self) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), "127.0.0.1", self._port
            )
        except OSError:
            self._unopened += 1
            self.seen["connections refused"] += 1
        else:
            self._send(connection)

    def _send(self, connection: "Connection") -> None:
        self.seen["requests sent"] += 1
        connection.send(next(self._requests))

    def take(self, connection: "Connection", status: int, head: bytes) -> None:
        """Count the answer on that connection, and let it be used again."""
        self.answered += 1
        self.seen[f"answered {status}"] += 1
        if status in (429, 503) and b"\r\nretry-after: " not in head:
            self.seen["refused without Retry-After"] += 1
        self._idle.append(connection)


class Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.send = transport.write

    def data_received(self, data: bytes) -> None:
        self._read += data
        if head := HEAD.match(self._read):
            length = LENGTH.search(head[0])
            assert length
            if len(self._read) >= head.end() + int(length[1]):
                self._read = b""
                self._load.take(self, int(head[1]), head[0])

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.seen["connections lost"] += 1


def main(port: str, connections: str, rate: str, seconds: str, file: str) -> None:
    requests = [json.loads(line).encode("latin-1") for line in Path(file).read_text().splitlines()]
    load = Load(int(port), int(connections), requests)
    asyncio.run(load.run(float(rate), float(seconds)))
    print(json.dumps(load.seen | {"not answered at the end": load.seen["requests sent"] - load.answered}))


if __name__ == "__main__":
    main(*sys.argv[1:])
