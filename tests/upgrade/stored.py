"""Dumps of stores as JSON: all keys and values, read from a store and written into an empty one.

Nothing of the service's code is used, so that a dump does not change with it.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import lmdb
import redis

Dump: TypeAlias = dict[str, Any]
TABLES = 16
"""More named databases than any format has."""


class Kind(NamedTuple):
    """A kind of store, with the functions for its dumps."""

    read: Callable[[str], Dump]
    write: Callable[[str, Dump], None]
    mark: tuple[str, ...]
    """The path to the format's number in a dump."""


def read_lmdb(url: str) -> Dump:
    """Return the dump of an LMDB store, by table and key. The nameless table has the marks."""
    with lmdb.open(url.removeprefix("lmdb:"), max_dbs=TABLES) as environment, environment.begin() as txn:
        marks = dict(txn.cursor())
        names = [name for name, value in marks.items() if len(value) == 48]  # LMDB's own record of a named database
        tables = {"": {key: marks[key] for key in marks if key not in names}}
        tables |= {name.decode(): dict(txn.cursor(environment.open_db(name, txn, create=False))) for name in names}
    return {name: {text(key): text(value) for key, value in rows.items()} for name, rows in tables.items()}


def write_lmdb(url: str, dump: Dump) -> None:
    with lmdb.open(url.removeprefix("lmdb:"), max_dbs=TABLES) as environment, environment.begin(write=True) as txn:
        for name, rows in dump.items():
            table = environment.open_db(name.encode() or None, txn)
            for key, value in rows.items():
                txn.put(b64decode(key), b64decode(value), db=table)


def read_redis(url: str) -> Dump:
    """Return the dump of a Redis, by key: bytes, a set's members, a sorted set's scores, or a hash's fields."""
    with redis.Redis.from_url(url, protocol=2) as client:
        return {key.decode(): _value(client, key) for key in sorted(client.keys())}


def _value(client: redis.Redis, key: bytes) -> Any:
    match client.type(key):
        case b"string":
            return text(client.get(key))
        case b"set":
            return sorted(map(text, client.smembers(key)))
        case b"zset":
            return {text(member): score for member, score in client.zrange(key, 0, -1, withscores=True)}
        case b"hash":
            return {text(field): text(content) for field, content in client.hgetall(key).items()}
        case other:
            raise ValueError(f"{key!r} is a {other!r}, which no store writes")


def write_redis(url: str, dump: Dump) -> None:
    with redis.Redis.from_url(url, protocol=2) as client:
        for key, value in dump.items():
            if isinstance(value, str):
                client.set(key, b64decode(value))
            elif isinstance(value, list):
                client.sadd(key, *map(b64decode, value))
            elif all(isinstance(content, str) for content in value.values()):
                client.hset(key, mapping={b64decode(field): b64decode(content) for field, content in value.items()})
            else:
                client.zadd(key, {b64decode(member): score for member, score in value.items()})


def text(data: bytes) -> str:
    return b64encode(data).decode()


KINDS = {
    "lmdb": Kind(read_lmdb, write_lmdb, ("", text(b"optim-service"))),
    "redis": Kind(read_redis, write_redis, ("optim:format",)),
}
