"""A crowd of slow clients: each measures how long the service keeps it, and reconnects until the crowd ends."""

import asyncio
import select
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, TypeAlias

DRIP_SECONDS = 0.5
"""Between two bytes."""
LOOK_SECONDS = 0.1
"""Between two checks of a connection that is not read."""

Client: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
"""The behaviour of a slow client on its connection until that is closed."""


def dripping(begin: bytes, drop: bytes) -> Client:
    """Return a client that sends the start of a request, then a drop from time to time."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not reader.at_eof():
            writer.write(drop)
            with suppress(TimeoutError):
                assert not await asyncio.wait_for(reader.read(), DRIP_SECONDS), "answered before it was all sent"

    return client


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Send nothing."""
    await reader.read()


def not_taking(request: bytes) -> Client:
    """Return a client that sends a request and never reads."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request)
        poll = select.poll()
        poll.register(writer.get_extra_info("socket").fileno(), 0)  # notices a reset without a read
        while not poll.poll(0):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)

    return client


class Crowd:
    """A crowd. `lasted` has by kind the seconds that each connection lasted until the service closed it.

    The clients connect within `spread` seconds, because a crowd that came at once would also leave at once.
    """

    def __init__(self, port: int, spread: float) -> None:
        self._port = port
        self._spread = spread
        self._came = 0
        self.lasted: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def gathered(self, kinds: dict[str, list[Client]]) -> Iterator[None]:
        """Run all clients in a thread until the block ends."""
        loop = asyncio.new_event_loop()
        thread = Thread(target=loop.run_forever)
        thread.start()
        everybody = [(kind, client) for kind, clients in kinds.items() for client in clients]
        clients = [
            self._come_back(kind, client, self._spread * number / len(everybody))
            for number, (kind, client) in enumerate(everybody)
        ]
        running = asyncio.run_coroutine_threadsafe(_together(clients), loop)
        try:
            while self._came < len(clients) and not running.done():
                time.sleep(0.01)
            yield
        finally:
            running.cancel()
            asyncio.run_coroutine_threadsafe(_settled(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
        assert running.cancelled(), running.exception()

    async def _come_back(self, kind: str, client: Client, wait: float) -> None:
        await asyncio.sleep(wait)
        while True:
            reader, writer = await self._connected()
            self._came += 1
            began = time.monotonic()
            try:
                with suppress(ConnectionError):
                    await client(reader, writer)
                self.lasted[kind].append(time.monotonic() - began)
            finally:
                writer.transport.abort()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        link = socket.socket()
        try:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)  # an answer soon waits in the service
            link.setblocking(False)
            await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", self._port))
            return await asyncio.open_connection(sock=link)
        except BaseException:
            link.close()
            raise


async def _together(clients: list[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client)


async def _settled() -> None:
    """Wait until no other task of this loop is left."""
    while len(tasks := asyncio.all_tasks()) > 1:
        await asyncio.wait([task for task in tasks if task is not asyncio.current_task()])
