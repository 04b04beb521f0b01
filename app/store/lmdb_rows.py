"""Rows of an LMDB table: parts of keys, and walks over the keys that begin alike."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import lmdb

    Transaction: TypeAlias = lmdb.Transaction[memoryview]
    Table: TypeAlias = lmdb._Database

LAST_NUMBER = (1 << 64) - 1


def digest(name: str) -> bytes:
    """The part of a key that stands for a session or a tenant."""
    return blake2b(name.encode(), digest_size=16).digest()


def number(value: int) -> bytes:
    """A step, a version or a count, so that keys sort as numbers do."""
    return min(max(value, 0), LAST_NUMBER).to_bytes(8, "big")


def ascending(
    transaction: "Transaction", table: "Table", prefix: bytes, start: bytes = b""
) -> Iterator[tuple[bytes, memoryview]]:
    """Keys that begin with `prefix`, from `prefix + start` on, with their values."""
    with transaction.cursor(table) as cursor:
        found = cursor.set_range(prefix + start)
        while found and (key := bytes(cursor.key())).startswith(prefix):
            yield key, cursor.value()
            found = cursor.next()


def descending(transaction: "Transaction", table: "Table", prefix: bytes, before: bytes) -> Iterator[bytes]:
    """Keys that begin with `prefix` and are below `prefix + before`, the greatest first."""
    with transaction.cursor(table) as cursor:
        found = cursor.prev() if cursor.set_range(prefix + before) else cursor.last()
        while found and (key := bytes(cursor.key())).startswith(prefix):
            yield key
            found = cursor.prev()


def drop(
    transaction: "Transaction", table: "Table", prefix: bytes, start: bytes = b"", limit: int | None = None
) -> int:
    """Delete keys that begin with `prefix`, from `prefix + start` on, up to `limit`; count them."""
    dropped = 0
    with transaction.cursor(table) as cursor:
        found = cursor.set_range(prefix + start)
        while found and dropped != limit and bytes(cursor.key()).startswith(prefix):
            cursor.delete()
            dropped += 1
            found = cursor.set_range(prefix + start)
    return dropped
