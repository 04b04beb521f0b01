"""The pool of connections to Redis.

redis-py gives the connections (addresses, TLS, users, the protocol); its pool is not used, because its bookkeeping
takes longer than a small answer of Redis. A cancelled call closes its connection, so that its reply never leaks to
another.

A failure of one connection is expected of all that are as old: they are closed (those in use after their call), and the
next call looks up the address and connects anew. So a failover that moves the address, or a router that forgot its
connections, costs a call or two instead of one for each connection.
"""

import asyncio
import math
import re
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.errors import StoreUnavailable

CONNECTIONS = 32
"""The most connections of one process. A further call waits for one, no longer than for an answer."""
READ_BYTES = 1 << 18

IDLE_SECONDS = 30.0
"""The longest idle time of a connection that is used again: routers forget idle ones, some after 60 s."""
KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence until the system sends a probe, seconds between probes, and their number; the first has two
names."""


@dataclass(eq=False, slots=True)
class Link:
    """A connection of the pool, and the time of its last use."""

    connection: AbstractConnection
    generation: int
    used_at: float = 0.0


class Pool:
    """A pool of up to `CONNECTIONS` connections. It belongs to the event loop that opened it."""

    def __init__(self, url: str, timeout: float) -> None:
        self.timeout = timeout
        address = _address(url)
        self._connection_class: type[AbstractConnection] = address.pop("connection_class", Connection)
        self._settings = {
            **address,
            "socket_timeout": None,  # the calls have one of their own
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "optim-service",
            "driver_info": None,
            "socket_read_size": READ_BYTES,
        }
        if issubclass(self._connection_class, Connection):
            self._settings |= {"socket_keepalive": True, "socket_keepalive_options": _socket_options(timeout)}
        self._places: asyncio.Semaphore | None = None
        self._idle: deque[Link] = deque()  # the one that was used last at the end
        self.lent = 0
        """The connections that calls have."""
        self.generation = 0
        try:
            connection = self._connection_class(**self._settings)
            if isinstance(connection, SSLConnection):
                connection.ssl_context.get()
        except (TypeError, RedisError) as error:  # it names the parameter alone
            raise ValueError(f"OPTIM_STORE: {error}") from None
        except OSError as error:
            raise ValueError(f"OPTIM_STORE: the files that its ssl_… name cannot be used: {error}") from None

    @property
    def secret_files(self) -> list[Path]:
        """Return the path of the client's private key, if there is one."""
        key = self._settings.get("ssl_keyfile")
        return [Path(key)] if key else []

    def open(self) -> None:
        self._places = asyncio.Semaphore(CONNECTIONS)

    async def close(self) -> None:
        self._places = None
        while self._idle:
            await self._idle.pop().connection.disconnect()

    @asynccontextmanager
    async def connection(
        self, seconds: float | None = None, *, at_once: bool = False
    ) -> AsyncIterator[AbstractConnection]:
        """Lend a connection to one call, for at most so many seconds, including the wait for it."""
        if self._places is None:
            raise StoreUnavailable("the store is not open")
        generation = self.generation
        try:
            async with asyncio.timeout(seconds), nullcontext() if at_once else self._places:
                generation = self.generation
                link = await self._take()
                self.lent += 1
                try:
                    await self._connect(link.connection)
                    yield link.connection
                except BaseException:
                    await link.connection.disconnect(nowait=True)
                    raise
                finally:
                    self.lent -= 1
                await self._give_back(link)
        except RuntimeError as error:  # uvloop's, where the connection was reset since it was written to last
            await self.renew(generation)
            raise ConnectionResetError(str(error)) from error
        except (RedisError, OSError):
            await self.renew(generation)
            raise

    @property
    def idle(self) -> int:
        """Return the number of connections that no call has."""
        return len(self._idle)

    async def _take(self) -> Link:
        """Return the connection that was used last, or a new one; close those that were idle for too long."""
        oldest = time.monotonic() - IDLE_SECONDS
        while self._idle and self._idle[0].used_at < oldest:
            await self._idle.popleft().connection.disconnect(nowait=True)
        if self._idle:
            return self._idle.pop()
        return Link(self._connection_class(**self._settings), self.generation)

    async def _connect(self, connection: AbstractConnection) -> None:
        if connection.is_connected and await connection.can_read():  # the end, for nothing else is due
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            await self._locate(connection)
            async with asyncio.timeout(self.timeout):
                await connection.connect()  # type: ignore[no-untyped-call]

    async def _locate(self, connection: AbstractConnection) -> None:
        """Give the connection its server's address, where that may have changed since the last one."""

    async def _give_back(self, link: Link) -> None:
        if self._places is None or link.generation != self.generation:
            await link.connection.disconnect(nowait=True)
        else:
            link.used_at = time.monotonic()
            self._idle.append(link)

    async def renew(self, generation: int) -> None:
        """Close all connections of a generation, once; those in use after their call."""
        if generation == self.generation:
            self.generation += 1
            while self._idle:
                await self._idle.pop().connection.disconnect(nowait=True)


def _socket_options(timeout: float) -> dict[int, int]:
    """Return the socket options that notice a dead connection: by silence, and by unacknowledged data."""
    options = KEEP_ALIVE | {"TCP_USER_TIMEOUT": math.ceil(timeout * 1000)}
    return {getattr(socket, name): value for name, value in options.items() if hasattr(socket, name)}


def _address(url: str) -> dict[str, Any]:
    """Return redis-py's settings for a URL. Raises `ValueError` without the URL, which may hold a password."""
    try:
        parts = urlsplit(url)
        database = parts.path.strip("/") if parts.scheme != "unix" else ""
        settings = set(parse_qs(parts.query, strict_parsing=bool(parts.query)))
        address = dict(parse_url(url))
    except ValueError:
        settings, database, address = set(), "?", {}
    if not re.fullmatch(r"\d*", database) or not (address.get("host") or address.get("path")):
        raise ValueError(
            "OPTIM_STORE must be redis://[user:password@]host[:port][/database], rediss://… for TLS, "
            "or unix:///path/of/socket[?db=database]"
        )
    for name in settings:
        if name != "db" and not name.startswith("ssl_"):
            raise ValueError(f"OPTIM_STORE: {name} is not taken from the URL; db and ssl_… are")
    return address
