"""Rows of an LMDB table: the parts of keys, and walks over the keys with one prefix."""

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import TypeAlias

import lmdb

Environment: TypeAlias = lmdb.Environment
Transaction: TypeAlias = "lmdb.Transaction[memoryview]"
Table: TypeAlias = "lmdb._Database"

LAST_NUMBER = (1 << 64) - 1


@lru_cache(maxsize=4096)
def digest(name: str) -> bytes:
    """Return the 16 bytes that stand for a session or a tenant in a key."""
    return blake2b(name.encode(), digest_size=16).digest()


def number(value: int) -> bytes:
    """Return a step, a version or a count as 8 bytes that sort like the numbers."""
    return min(max(value, 0), LAST_NUMBER).to_bytes(8, "big")


def ascending(
    transaction: Transaction, table: Table, prefix: bytes, start: bytes = b""
) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the keys with this prefix and their values, from `prefix + start` on."""
    with transaction.cursor(table) as cursor:
        if cursor.set_range(prefix + start):
            for name, value in cursor:
                if not (key := bytes(name)).startswith(prefix):
                    break
                yield key, value


def descending(transaction: Transaction, table: Table, prefix: bytes, before: bytes) -> Iterator[bytes]:
    """Yield the keys with this prefix that are below `prefix + before`, greatest first."""
    with transaction.cursor(table) as cursor:
        found = cursor.prev() if cursor.set_range(prefix + before) else cursor.last()
        while found and (key := bytes(cursor.key())).startswith(prefix):
            yield key
            found = cursor.prev()


def drop(transaction: Transaction, table: Table, prefix: bytes, start: bytes = b"", limit: int | None = None) -> int:
    """Delete up to `limit` keys with this prefix, from `prefix + start` on; return how many."""
    dropped = 0
    with transaction.cursor(table) as cursor:
        found = cursor.set_range(prefix + start)
        while found and dropped != limit and bytes(cursor.key()).startswith(prefix):
            cursor.delete()
            dropped += 1
            found = cursor.set_range(prefix + start)
    return dropped
