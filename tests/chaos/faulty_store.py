"""Stores with one injected fault: all calls to LMDB and all traffic with Redis are counted, and the n-th one is hit.

Knows nothing of sessions.
"""

import errno
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import lmdb

from app.settings import Settings
from app.store.lmdb import LmdbStore
from app.store.lmdb_file import LmdbFile
from app.store.redis import RedisStore
from app.store.redis_client import Client
from app.store.redis_pool import Pool


class Fault:
    """A fault at the n-th moment. Each call has two: before and after it."""

    def __init__(self, at: int, strike: Callable[[], None]) -> None:
        self._left = at
        self._strike = strike
        self.struck: str | None = None
        """The name of that moment, once it came."""

    def moment(self, name: str) -> None:
        self._left -= 1
        if self._left == 0:
            self.struck = name
            self._strike()


class Faulty(ABC):
    """A store with a place for a fault."""

    url: str
    fault: Fault | None = None

    def moment(self, name: str) -> None:
        if self.fault is not None:
            self.fault.moment(name)

    @abstractmethod
    def fail(self) -> None:
        """Raise an error of the store's library."""


class FaultyFile(LmdbFile):
    """An LMDB file whose environment is watched."""

    moment: Callable[[str], None]

    def _open_environment(self) -> Any:
        return Watched(super()._open_environment(), self.moment)


class FaultyLmdb(LmdbStore, Faulty):
    """An LMDB store whose calls to LMDB may fail."""

    def __init__(self, file: LmdbFile, history_limit: int) -> None:
        super().__init__(FaultyFile(file.folder, file.map_bytes, sync=file.sync), history_limit)
        self.file.moment = self.moment  # type: ignore[attr-defined]

    def fail(self) -> None:
        error = lmdb.Error("injected: input/output error")
        error.code = errno.EIO
        raise error


class FaultyRedis(RedisStore, Faulty):
    """A Redis store whose sends and answers may fail."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "FaultyRedis":
        client = Client(settings.store, settings.store_timeout_seconds)
        store = cls(client, settings.history_limit)
        client.pool = pool = FaultyPool(settings.store, settings.store_timeout_seconds)
        pool.moment = store.moment
        return store

    def fail(self) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "injected: connection reset")


class FaultyPool(Pool):
    """A pool that watches its connections."""

    moment: Callable[[str], None]

    @asynccontextmanager
    async def connection(self, *arguments: Any, **named: Any) -> AsyncIterator[Any]:
        async with super().connection(*arguments, **named) as connection:
            yield WatchedConnection(connection, self.moment)


class WatchedConnection:
    """A connection to Redis whose sends and answers are moments."""

    def __init__(self, connection: Any, moment: Callable[[str], None]) -> None:
        self._connection = connection
        self._moment = moment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def send_packed_command(self, *arguments: Any, **named: Any) -> None:
        self._moment("before a send")
        await self._connection.send_packed_command(*arguments, **named)
        self._moment("after a send")

    async def read_response(self) -> Any:
        self._moment("before an answer")
        answer = await self._connection.read_response()
        self._moment("after an answer")
        return answer


class Watched:
    """An LMDB environment, transaction or cursor whose calls and commits are moments."""

    def __init__(self, target: Any, moment: Callable[[str], None]) -> None:
        self._target = target
        self._moment = moment

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return self._watched(name, found) if callable(found) else found

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if "txn" in named:
                named["txn"] = named["txn"]._target
            self._moment(f"before {name}")
            result = method(*arguments, **named)
            if name in {"begin", "cursor"}:
                return Watched(result, self._moment)
            self._moment(f"after {name}")
            return result

        return call

    def __iter__(self) -> Any:
        return iter(self._target)

    def __enter__(self) -> "Watched":
        self._target.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        is_commit = isinstance(self._target, lmdb.Transaction) and error[0] is None
        try:
            if is_commit:
                self._moment("before commit")
        except BaseException as fault:
            self._target.__exit__(type(fault), fault, fault.__traceback__)
            raise
        self._target.__exit__(*error)
        if is_commit:
            self._moment("after commit")


FaultyStore: TypeAlias = FaultyLmdb | FaultyRedis


def faulty_store(url: str) -> FaultyStore:
    """Return the store at that URL, not yet opened."""
    kind: type[FaultyLmdb] | type[FaultyRedis] = FaultyLmdb if url.startswith("lmdb:") else FaultyRedis
    store = kind.from_settings(Settings(store=url))
    store.url = url
    return store
