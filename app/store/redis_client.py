"""How Redis is asked: the one place that knows redis-py, its connections and its errors.

redis-py's own retries are off: it would send a write again that may have been done. A call that is cancelled closes
its connection, so that nobody reads another's answer (redis-py does that; the tests hold it to it).
"""

import re
from collections.abc import Sequence
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.errors import StoreUnavailable
from app.store.redis_scripts import Script

CONNECTIONS = 32
"""Of one process. A call beyond them waits for one to come free, as long as for an answer."""
READ_BYTES = 1 << 18

ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (OutOfMemoryError, "is out of memory: raise its maxmemory or delete sessions"),
    (ReadOnlyError, "is a read-only replica: name the primary in OPTIM_STORE"),
    (BusyLoadingError, "is loading its data: try again in a moment"),
    (NoPermissionError, "does not let this user do what the store needs"),
    (AuthenticationError, "refuses the user or the password in OPTIM_STORE"),
    (RedisTimeoutError, "did not answer within OPTIM_STORE_TIMEOUT_SECONDS"),
    (Exception, "failed or cannot be reached"),
)

Command: TypeAlias = Sequence[str | bytes | int | memoryview]


class Refused(StoreUnavailable):
    """Redis answered, with an error: nothing of the call is under way any more."""


class Client:
    """A pool of connections. It belongs to the event loop that opened it."""

    def __init__(self, url: str, timeout: float) -> None:
        self._connection = {
            **_address(url),
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "timeout": timeout,
            "max_connections": CONNECTIONS,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "optim-service",
            "driver_info": None,
            "socket_read_size": READ_BYTES,
        }
        self._redis: Redis | None = None
        try:
            pool = self._pool()
            pool.connection_class(**pool.connection_kwargs)
        except TypeError as error:  # it names the parameter alone
            raise ValueError(f"OPTIM_STORE: {error}") from None

    def _pool(self) -> BlockingConnectionPool:
        return BlockingConnectionPool(**self._connection)

    def open(self) -> None:
        self._redis = Redis(connection_pool=self._pool())

    async def close(self) -> None:
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.connection_pool.aclose()

    async def ask(self, *commands: Command) -> list[Any]:
        """Send the commands together and return their answers, or raise `StoreUnavailable`.

        They are not a transaction: those behind one that is answered by an error are done nevertheless.
        """
        if self._redis is None:
            raise StoreUnavailable("the store is not open")
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise StoreUnavailable(_explained(error)) from error
        for answer in answers:
            if isinstance(answer, Exception):
                raise Refused(_explained(answer)) from answer
        return answers

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        values: Command,
        before: Sequence[Command] = (),
        after: Sequence[Command] = (),
    ) -> Any:
        """The script's answer. The commands `before` and `after` it are sent along, and may be sent twice."""
        tail = (len(keys), *keys, *values)
        try:
            answers = await self.ask(*before, ("EVALSHA", script.sha, *tail), *after)
        except Refused as refusal:
            if not isinstance(refusal.__cause__, NoScriptError):
                raise
            answers = await self.ask(*before, ("EVAL", script.text, *tail), *after)
        return answers[len(before)]


def _explained(error: Exception) -> str:
    advice = next(advice for kind, advice in ADVICE if isinstance(error, kind))
    return f"Redis {advice} ({error})"


def _address(url: str) -> dict[str, Any]:
    """What redis-py needs to connect. Raises `ValueError`, without the URL: it may hold a password."""
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
