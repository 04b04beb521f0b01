"""How Redis is asked: the one place that knows redis-py, its connections and its errors.

redis-py gives the connections (addresses, TLS, users, the protocol); its pool and pipelines are left out, for their
bookkeeping takes longer than a small answer of Redis. Nothing is sent twice: a write that got no answer may have been
done. A call that is cut short closes its connection, so that nobody reads another's answer.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import hiredis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
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
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.errors import StoreUnavailable
from app.store.redis_scripts import Script

CONNECTIONS = 32
"""Of one process. A call beyond them waits for one to come free, as long as for an answer."""
READ_BYTES = 1 << 18

LARGEST_COPIED = 1 << 14
"""Bytes: a larger value is not copied on its way out."""
SENT_AT_ONCE = 16
"""Commands of an upload that are given to the transport together: what must leave within the timeout."""

ADVICE: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (OutOfMemoryError, "is out of memory: raise its maxmemory or delete sessions"),
    (ReadOnlyError, "is a read-only replica: name the primary in OPTIM_STORE"),
    (BusyLoadingError, "is loading its data: try again in a moment"),
    (NoPermissionError, "does not let this user do what the store needs"),
    (AuthenticationError, "refuses the user or the password in OPTIM_STORE"),
    (ssl.SSLCertVerificationError, "shows a certificate that is not trusted: is its authority in ?ssl_ca_certs=PATH?"),
    ((RedisTimeoutError, TimeoutError), "did not answer within OPTIM_STORE_TIMEOUT_SECONDS"),
    (Exception, "failed or cannot be reached"),
)

Command: TypeAlias = Sequence[str | bytes | int | memoryview]


class Refused(StoreUnavailable):
    """Redis answered, with an error: nothing of the call is under way any more."""


class Client:
    """A pool of connections. It belongs to the event loop that opened it."""

    def __init__(self, url: str, timeout: float) -> None:
        self._timeout = timeout
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
        self._places: asyncio.Semaphore | None = None
        self._idle: list[AbstractConnection] = []
        try:
            connection = self._connection_class(**self._settings)
            if isinstance(connection, SSLConnection):
                connection.ssl_context.get()
        except (TypeError, RedisError) as error:  # it names the parameter alone
            raise ValueError(f"OPTIM_STORE: {error}") from None
        except OSError as error:
            raise ValueError(f"OPTIM_STORE: the files that its ssl_… name cannot be used: {error}") from None

    def open(self) -> None:
        self._places = asyncio.Semaphore(CONNECTIONS)

    async def close(self) -> None:
        self._places = None
        while self._idle:
            await self._idle.pop().disconnect()

    async def ask(self, *commands: Command) -> list[Any]:
        """Send the commands together and return their answers, or raise `StoreUnavailable`.

        They are not a transaction: those behind one that is answered by an error are done nevertheless.
        """
        try:
            async with asyncio.timeout(self._timeout), self.connection() as connection:
                await connection.send_packed_command(_packed(connection, commands), check_health=False)
                answers = [await _answer(connection) for _ in commands]
        except (RedisError, OSError) as error:
            raise StoreUnavailable(_explained(error)) from error
        return _checked(answers)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AbstractConnection]:
        """A connection that nobody else uses meanwhile."""
        if self._places is None:
            raise StoreUnavailable("the store is not open")
        async with self._places:
            connection = self._idle.pop() if self._idle else self._connection_class(**self._settings)
            try:
                if connection.is_connected and await connection.can_read():  # the end, for nothing else is due
                    await connection.disconnect(nowait=True)
                if not connection.is_connected:
                    async with asyncio.timeout(self._timeout):
                        await connection.connect()  # type: ignore[no-untyped-call]
                yield connection
            except RuntimeError as error:  # uvloop's, where the connection was reset since it was written to last
                await connection.disconnect(nowait=True)
                raise ConnectionResetError(str(error)) from error
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            if self._places is None:
                await connection.disconnect()
            else:
                self._idle.append(connection)

    def upload(self) -> "Upload":
        return Upload(self, self._timeout)

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        values: Command,
        before: Sequence[Command] = (),
        after: Sequence[Command] = (),
        upload: "Upload | None" = None,
    ) -> Any:
        """The script's answer. The commands `before` and `after` it are sent along, and may be sent twice.

        With an upload it is what ends that.
        """
        tail = (len(keys), *keys, *values)
        ask = upload.finish if upload else self.ask
        try:
            answers = await ask(*before, ("EVALSHA", script.sha, *tail), *after)
        except Refused as refusal:
            if not isinstance(refusal.__cause__, NoScriptError):
                raise
            answers = await self.ask(*before, ("EVAL", script.text, *tail), *after)
        return answers[len(before)]


class Upload:
    """Commands that leave on a connection of their own as they come: none waits for the answer of another.

    Values are not copied, and no more of them are under way than the sockets hold.
    """

    def __init__(self, client: Client, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._waiting: asyncio.Queue[Command | None] = asyncio.Queue()
        self._sending: asyncio.Task[list[Any]] | None = None

    def put(self, command: Command) -> None:
        self._waiting.put_nowait(command)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def finish(self, *commands: Command) -> list[Any]:
        """Send these as the last; their answers, where none of all that was sent is an error. As `Client.ask`."""
        for command in commands:
            self.put(command)
        self._waiting.put_nowait(None)
        assert self._sending is not None
        try:
            answers = await self._sending
        except (RedisError, OSError) as error:
            raise StoreUnavailable(_explained(error)) from error
        return _checked(answers)[-len(commands) :]

    async def _send(self) -> list[Any]:
        sent = 0
        async with self._client.connection() as connection:
            while commands := await self._next():
                async with asyncio.timeout(self._timeout):
                    await connection.send_packed_command(_packed(connection, commands), check_health=False)
                sent += len(commands)
            async with asyncio.timeout(self._timeout):
                return [await _answer(connection) for _ in range(sent)]

    async def _next(self) -> list[Command]:
        """What is to be sent together; nothing at the end."""
        commands: list[Command] = []
        while not commands or (len(commands) < SENT_AT_ONCE and not self._waiting.empty()):
            command = await self._waiting.get()
            if command is None:
                self._waiting.put_nowait(None)  # for the call after this one
                break
            commands.append(command)
        return commands


def _packed(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """The commands as they are sent: large values as they are, small ones packed quickly."""
    packed: list[Any] = []
    for command in commands:
        if any(isinstance(part, memoryview) and len(part) > LARGEST_COPIED for part in command):
            packed += connection.pack_command(*command)
        else:
            packed.append(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]
    return packed


async def _answer(connection: AbstractConnection) -> Any:
    """The next answer; an error that Redis answers with is one too."""
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _checked(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception):
            raise Refused(_explained(answer)) from answer
    return answers


def _explained(error: Exception) -> str:
    beneath = error.__context__  # redis-py makes one kind of all that goes wrong while it connects
    advice = next(advice for kind, advice in ADVICE if isinstance(error, kind) or isinstance(beneath, kind))
    return f"Redis {advice} ({error})" if str(error) else f"Redis {advice}"


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
