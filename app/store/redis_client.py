"""The client of Redis: commands, uploads, scripts, and the words for Redis's errors.

Nothing is sent twice: a write without an answer may have been done. redis-py's pipelines are not used, because their
bookkeeping takes longer than a small answer of Redis.
"""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.errors import StoreUnavailable
from app.store.base import IncompatibleStore
from app.store.redis_pool import Pool
from app.store.redis_replicas import Replicas
from app.store.redis_scripts import Script
from app.store.redis_sentinel import SentinelPool, is_sentinel

LARGEST_COPIED = 1 << 14
"""The size in bytes above which a value is sent without a copy."""
SENT_AT_ONCE = 16
"""The most commands of an upload that are sent together: they must leave within the timeout."""


class Advice(NamedTuple):
    """The words for a kind of error, and what an operator can do where they do not say it."""

    kind: type[Exception] | tuple[type[Exception], ...]
    words: str
    way_out: str | None = None


UNREACHABLE = "failed or cannot be reached"
ADVICE = (
    Advice(OutOfMemoryError, "is out of memory: raise its maxmemory or delete sessions"),
    Advice(ReadOnlyError, "is a read-only replica: unless a failover is under way, name the primary in OPTIM_STORE"),
    Advice(MasterDownError, "is a replica without its primary: unless a failover is under way, name the primary"),
    Advice(BusyLoadingError, "is loading its data: try again in a moment"),
    Advice(
        (MovedError, AskError, TryAgainError, ClusterDownError), "is a cluster: write redis+cluster:// in OPTIM_STORE"
    ),
    Advice(
        NoPermissionError,
        "does not let this user do what the store needs",
        'Give it the rights that docs/stores.md has under "The least user"',
    ),
    Advice(
        AuthenticationError,
        "refuses the user or the password in OPTIM_STORE",
        "Give both in the address: OPTIM_STORE=redis://USER:PASSWORD@HOST:PORT/0",
    ),
    Advice(
        ssl.SSLCertVerificationError,
        "shows a certificate that is not trusted: is its authority in ?ssl_ca_certs=PATH?",
    ),
    Advice(
        (RedisTimeoutError, TimeoutError),
        "did not answer within {limit}",
        "Is it busy, or does a firewall drop what is sent there?",
    ),
    Advice(
        (RedisConnectionError, OSError),
        UNREACHABLE,
        "Start it, or name another store: OPTIM_STORE=redis://HOST:PORT/0, or lmdb:PATH, which needs no server",
    ),
    Advice(Exception, UNREACHABLE),
)
SAID = {
    "MISCONF": "cannot write to its disk",
    "NOREPLICAS": "has fewer replicas than its min-replicas-to-write",
}
"""The advice for errors without a class in redis-py, by their first word."""
ELSEWHERE = (
    ReadOnlyError, MasterDownError, MovedError, AskError, TryAgainError, ClusterDownError, AuthenticationError,
    BusyLoadingError,
)  # fmt: skip
"""Errors, besides those of `SAID`, of a server that cannot be written: another server may have its address now."""

Command: TypeAlias = Sequence[str | bytes | int | memoryview]


class Refused(StoreUnavailable):
    """Redis answered with an error: no command of the call is under way any more."""

    @property
    def is_unknown_script(self) -> bool:
        """Return whether Redis does not know the script by its name."""
        return isinstance(self.__cause__, NoScriptError)

    @property
    def will_pass(self) -> bool:
        """Return whether Redis is only starting, or failing over."""
        return isinstance(self.__cause__, BusyLoadingError | MasterDownError | ReadOnlyError)


class NotSent(StoreUnavailable):
    """A call without a connection: nothing of it has reached Redis."""


class Client:
    """The commands to one Redis. A client belongs to the event loop that opened it."""

    def __init__(self, url: str, timeout: float, replicas: int = 0) -> None:
        self.replicas = Replicas(replicas, timeout)
        kind = SentinelPool if is_sentinel(url) else Pool
        self.pool: Pool = kind(url, timeout)

    def open(self) -> None:
        self.pool.open()

    async def close(self) -> None:
        await self.pool.close()

    @property
    def secret_files(self) -> list[Path]:
        """Return the path of the client's private key, if there is one."""
        return self.pool.secret_files

    @property
    def servers(self) -> list["Client"]:
        """Return this client: it has all keys."""
        return [self]

    async def check(self) -> None:
        """Raise `IncompatibleStore` if this Redis is a part of a cluster, as far as this user may know."""
        try:
            (answer,) = await self.ask(("INFO", "cluster"))
        except Refused:
            return
        if b"cluster_enabled:1" in answer:
            raise IncompatibleStore("Redis is a cluster: write redis+cluster:// in OPTIM_STORE")

    async def ask(self, *commands: Command, at_once_within: float | None = None) -> list[Any]:
        """Send the commands together and return their answers, or raise `StoreUnavailable`.

        They are no transaction: those after a failed one run all the same. With `at_once_within` they wait for no other
        call, and have that many seconds.
        """
        return await self.checked(await self.exchange(commands, at_once_within))

    async def exchange(self, commands: Sequence[Command], at_once_within: float | None = None) -> list[Any]:
        """Send the commands together and return their answers, of which some may be errors."""
        at_once, sent = at_once_within is not None, False
        seconds = min(self.pool.timeout, at_once_within or self.pool.timeout)
        try:
            async with self.pool.connection(seconds, at_once=at_once) as connection:
                sent = True
                await connection.send_packed_command(_packed(connection, commands), check_health=False)
                return [await _answer(connection) for _ in commands]
        except (RedisError, OSError) as error:
            limit = "OPTIM_STORE_TIMEOUT_SECONDS" if seconds == self.pool.timeout else f"{seconds:g} s"
            kind = StoreUnavailable if sent else NotSent
            raise failure(kind, error, limit) from error

    async def checked(self, answers: list[Any]) -> list[Any]:
        """Return the answers. Raises `Refused` for the first that is an error."""
        for answer in answers:
            if isinstance(answer, Exception):
                if isinstance(answer, ELSEWHERE) or str(answer).startswith(tuple(SAID)):
                    await self.pool.renew(self.pool.generation)
                raise failure(Refused, answer) from answer
        return answers

    def upload(self) -> "Upload":
        return Upload(self)

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        values: Command,
        before: Sequence[Command] = (),
        after: Sequence[Command] = (),
        upload: "Upload | None" = None,
    ) -> Any:
        """Run a script; return its answer once the replicas have what it wrote. The commands `before` and `after` it
        go along, and may be sent twice.

        With an upload, these are its last commands.
        """
        tail = (len(keys), *keys, *values)
        ask = upload.finish if upload else self.ask
        after = (*after, *self.replicas.wait)
        try:
            answers = await ask(*before, ("EVALSHA", script.sha, *tail), *after)
        except Refused as refusal:
            if not refusal.is_unknown_script:
                raise
            answers = await self.ask(*before, ("EVAL", script.text, *tail), *after)
        self.replicas.check(answers)
        return answers[len(before)]


class Upload:
    """A stream of commands on a connection of its own: none waits for the answer of another.

    Values are not copied, and no more of them are under way than the sockets hold.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._timeout = client.pool.timeout
        self._waiting: asyncio.Queue[Command | None] = asyncio.Queue()
        self._sending: asyncio.Task[list[Any]] | None = None

    def put(self, command: Command) -> None:
        self._waiting.put_nowait(command)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def finish(self, *commands: Command) -> list[Any]:
        """Send the last commands; return their answers. Raises as `Client.ask`, for an error of any command."""
        for command in commands:
            self.put(command)
        return (await self._client.checked(await self.end()))[-len(commands) :]

    async def end(self) -> list[Any]:
        """Return the answers of all commands, of which some may be errors."""
        self._waiting.put_nowait(None)
        assert self._sending is not None
        try:
            return await self._sending
        except (RedisError, OSError) as error:
            raise failure(StoreUnavailable, error) from error
        finally:
            self._sending = None  # it has the error, whose traceback has this frame

    async def _send(self) -> list[Any]:
        sent = 0
        async with self._client.pool.connection() as connection:
            while commands := await self._next():
                async with asyncio.timeout(self._timeout):
                    await connection.send_packed_command(_packed(connection, commands), check_health=False)
                sent += len(commands)
            async with asyncio.timeout(self._timeout):
                return [await _answer(connection) for _ in range(sent)]

    async def _next(self) -> list[Command]:
        """Return the next commands to send together; none at the end."""
        commands: list[Command] = []
        while not commands or (len(commands) < SENT_AT_ONCE and not self._waiting.empty()):
            command = await self._waiting.get()
            if command is None:
                self._waiting.put_nowait(None)  # for the call after this one
                break
            commands.append(command)
        return commands


def _packed(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Return the bytes to send: large values without a copy, small ones packed quickly."""
    packed: list[Any] = []
    for command in commands:
        if any(isinstance(part, memoryview) and len(part) > LARGEST_COPIED for part in command):
            packed += connection.pack_command(*command)
        else:
            packed.append(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]
    return packed


async def _answer(connection: AbstractConnection) -> Any:
    """Return the next answer, which may be an error."""
    try:
        return await connection.read_response()
    except (ResponseError, BusyLoadingError) as error:
        return error


def failure(
    kind: type[StoreUnavailable],
    error: Exception,
    limit: str = "OPTIM_STORE_TIMEOUT_SECONDS",
    more: tuple[Advice, ...] = (),
) -> StoreUnavailable:
    """Return the service's error for one of Redis's, with the way out as a note; `more` advice comes first."""
    beneath = error.__context__  # redis-py makes one kind of all that goes wrong while it connects
    known = (*more, *ADVICE)
    _, words, way_out = next(a for a in known if isinstance(error, a.kind) or isinstance(beneath, a.kind))
    if said := SAID.get(str(error).partition(" ")[0]):
        words, way_out = said, None
    found = kind(f"Redis {words.format(limit=limit)}" + (f" ({error})" if str(error) else ""))
    if way_out:
        found.add_note(way_out)
    return found
