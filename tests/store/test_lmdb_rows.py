"""The parts of keys, and walks over the keys with one prefix."""

from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from app.store.lmdb_rows import LAST_NUMBER, Table, Transaction, ascending, descending, digest, drop, number

KEYS = [b"a", b"ab", b"ab1", b"ab2", b"ab3", b"b"]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[tuple[Transaction, Table]]:
    """Lend a table with `KEYS`, in a transaction that writes."""
    with lmdb.open(str(tmp_path), max_dbs=1) as environment, environment.begin(write=True, buffers=True) as txn:
        table = environment.open_db(b"table", txn=txn)
        for key in KEYS:
            txn.put(key, b"value of " + key, db=table)
        yield txn, table


def test_numbers_sort_like_their_bytes() -> None:
    values = [0, 1, 255, 256, 1 << 40, LAST_NUMBER]
    assert sorted(values, key=number) == values
    assert [number(value) for value in (-1, LAST_NUMBER + 1)] == [number(0), number(LAST_NUMBER)]


def test_a_name_of_any_length_has_sixteen_bytes() -> None:
    assert {len(digest(name)) for name in ("", "a", "a" * 10_000)} == {16}


@pytest.mark.parametrize(
    ("prefix", "start", "found"),
    [(b"ab", b"", KEYS[1:5]), (b"ab", b"2", KEYS[3:5]), (b"ab", b"4", []), (b"c", b"", []), (b"", b"", KEYS)],
)
def test_ascending_stays_within_the_prefix(
    filled: tuple[Transaction, Table], prefix: bytes, start: bytes, found: list[bytes]
) -> None:
    rows = [(key, bytes(value)) for key, value in ascending(*filled, prefix, start)]
    assert rows == [(key, b"value of " + key) for key in found]


@pytest.mark.parametrize(
    ("prefix", "before", "found"),
    [(b"ab", b"\xff", KEYS[4:0:-1]), (b"ab", b"2", KEYS[2:0:-1]), (b"ab", b"", []), (b"b", b"\xff", KEYS[5:])],
)
def test_descending_stays_below_and_within_the_prefix(
    filled: tuple[Transaction, Table], prefix: bytes, before: bytes, found: list[bytes]
) -> None:
    assert list(descending(*filled, prefix, before)) == found


@pytest.mark.parametrize(
    ("start", "limit", "left"),
    [(b"", None, [b"a", b"b"]), (b"2", None, [b"a", b"ab", b"ab1", b"b"]), (b"", 2, [b"a", b"ab2", b"ab3", b"b"])],
)
def test_drop_deletes_and_counts_up_to_its_limit(
    filled: tuple[Transaction, Table], start: bytes, limit: int | None, left: list[bytes]
) -> None:
    dropped = drop(*filled, b"ab", start, limit)
    assert [key for key, _ in ascending(*filled, b"")] == left
    assert dropped == len(KEYS) - len(left)
