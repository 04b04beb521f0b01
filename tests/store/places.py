"""The places of stores: a look at what each really holds, and damage to it behind the store's back."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.settings import Settings
from app.store import open_store
from app.store.base import Store
from app.store.lmdb import LmdbStore
from app.store.lmdb_rows import digest
from app.store.memory import MemoryStore
from app.store.redis_names import head_key, ledger_key, session_key
from tests import redis_user


class Place(ABC):
    """The place of one store. `put_…` with `None` removes."""

    def __init__(self, url: str, store: Any) -> None:
        self.url = url
        self.store = store

    @abstractmethod
    async def pieces(self, session_id: str) -> dict[str, bytes]: ...

    @abstractmethod
    async def put_piece(self, session_id: str, name: str, data: bytes | None) -> None: ...

    @abstractmethod
    async def head(self, session_id: str) -> bytes: ...

    @abstractmethod
    async def put_head(self, session_id: str, data: bytes) -> None: ...


class MemoryPlace(Place):
    store: MemoryStore

    async def pieces(self, session_id: str) -> dict[str, bytes]:
        return {name: bytes(data) for views in self._views(session_id) for name, data in views.items()}

    def _views(self, session_id: str) -> list[dict[str, Any]]:
        """Return the views of the state, and those of the ledger."""
        states, ledgers = self.store._states, self.store._ledgers
        own = [states[session_id].by_name] if session_id in states else []
        return own + ([ledgers[session_id][1]] if session_id in ledgers else [])

    async def put_piece(self, session_id: str, name: str, data: bytes | None) -> None:
        pieces = next(views for views in self._views(session_id) if name in views)
        del pieces[name]
        if data is not None:
            pieces[name] = data

    async def head(self, session_id: str) -> bytes:
        return self.store._heads.written(session_id)

    async def put_head(self, session_id: str, data: bytes) -> None:
        self.store._heads[session_id] = data


class DurablePlace(Place):
    """The place of a store that has bytes of a ledger."""

    @abstractmethod
    async def ledger(self, session_id: str) -> bytes: ...

    @abstractmethod
    async def put_ledger(self, session_id: str, data: bytes) -> None: ...


class LmdbPlace(DurablePlace):
    store: LmdbStore

    async def pieces(self, session_id: str) -> dict[str, bytes]:
        prefix, table = digest(session_id), self.store.file.tables.pieces
        with self.store.file.environment.begin() as txn:
            return {key[16:].decode(): data for key, data in txn.cursor(table) if key.startswith(prefix)}

    async def put_piece(self, session_id: str, name: str, data: bytes | None) -> None:
        key, table = digest(session_id) + name.encode(), self.store.file.tables.pieces
        await self._write(lambda txn: txn.delete(key, db=table) if data is None else txn.put(key, data, db=table))

    async def head(self, session_id: str) -> bytes:
        with self.store.file.environment.begin() as txn:
            return txn.get(digest(session_id), b"", db=self.store.file.tables.heads)

    async def put_head(self, session_id: str, data: bytes) -> None:
        await self._write(lambda txn: txn.put(digest(session_id), data, db=self.store.file.tables.heads))

    async def ledger(self, session_id: str) -> bytes:
        with self.store.file.environment.begin() as txn:
            return txn.get(digest(session_id), b"", db=self.store.file.tables.ledgers)

    async def put_ledger(self, session_id: str, data: bytes) -> None:
        await self._write(lambda txn: txn.put(digest(session_id), data, db=self.store.file.tables.ledgers))

    async def _write(self, job: Any) -> None:
        def write() -> None:
            with self.store.file.environment.begin(write=True) as txn:
                job(txn)

        await asyncio.to_thread(write)


class RedisPlace(DurablePlace):
    def __init__(self, url: str, store: Any) -> None:
        super().__init__(url, store)
        self.client = self._client_of(redis_user.admin_s(url))

    def _client_of(self, url: str) -> Any:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), protocol=2)

    async def pieces(self, session_id: str) -> dict[str, bytes]:
        start = session_key(session_id, "piece:")
        keys = [key.decode() for key in self.client.scan_iter(count=1000)]
        return {key.removeprefix(start): self._get(key) for key in keys if key.startswith(start)}

    def _get(self, key: str) -> bytes:
        data = self.client.get(key)
        assert isinstance(data, bytes)
        return data

    async def put_piece(self, session_id: str, name: str, data: bytes | None) -> None:
        key = session_key(session_id, f"piece:{name}")
        self.client.delete(key) if data is None else self.client.set(key, data, keepttl=True)

    async def head(self, session_id: str) -> bytes:
        return self._get(head_key(session_id))

    async def put_head(self, session_id: str, data: bytes) -> None:
        self.client.set(head_key(session_id), data, keepttl=True)

    async def ledger(self, session_id: str) -> bytes:
        return self._get(ledger_key(session_id))

    async def put_ledger(self, session_id: str, data: bytes) -> None:
        self.client.set(ledger_key(session_id), data, keepttl=True)


class ClusterPlace(RedisPlace):
    def _client_of(self, url: str) -> Any:
        return redis.RedisCluster.from_url(url.replace("redis+cluster:", "redis:").partition(",")[0], protocol=2)


PLACES: dict[str, type[Any]] = {
    "memory": MemoryPlace,
    "lmdb": LmdbPlace,
    "redis": RedisPlace,
    "redis+cluster": ClusterPlace,
}


def place_at(url: str, **settings: Any) -> Place:
    """Return the place of a store that is not open yet."""
    place: Place = PLACES[url.partition(":")[0]](url, open_store(Settings(store=url, **settings)))
    return place


@asynccontextmanager
async def second_store(place: Place) -> AsyncIterator[Store]:
    """Lend another handle on the same store. Within one process, only Redis has a second object."""
    if place.url.startswith("redis"):
        async with open_store(Settings(store=place.url)) as store:
            yield store
    else:
        yield place.store
