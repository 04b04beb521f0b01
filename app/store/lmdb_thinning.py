"""The thinning of a session's history in an LMDB file.

    thinned  digest(session)  the numbers of a `Thinning`, and the places of its edge and its hand

A place is a step and a version, as in a row's key: it stands for the first row there or behind it. So it keeps its rank
when rows are removed or added behind it. When one is added before it, the row with its rank is the one before.
"""

import struct
from collections.abc import Sequence
from dataclasses import astuple

from app.store.lmdb_rows import LAST_NUMBER, Transaction, ascending, descending, number
from app.store.lmdb_tables import Tables
from app.store.thinning import Seen, Thinning, is_notable

NUMBERS = struct.Struct(">5Q")
FIRST = number(0) + number(0)


def begun(transaction: Transaction, tables: Tables, session: bytes) -> "Thinner | None":
    """Return the thinning of a session; `None` if it never had too many rows."""
    kept = transaction.get(session, db=tables.thinned)
    return None if kept is None else Thinner(transaction, tables, session, bytes(kept))


def numbers_of(kept: bytes) -> tuple[int, ...]:
    """Return the numbers of a `Thinning` in what the file has of it."""
    numbers: tuple[int, ...] = NUMBERS.unpack(kept[: NUMBERS.size])
    return numbers


def put(transaction: Transaction, tables: Tables, session: bytes, numbers: Sequence[int]) -> None:
    """Write the thinning of a session that has its rows, from the numbers alone."""
    places = [key[16:] for key, _ in ascending(transaction, tables.rows, session) if key != session]
    end = (number(LAST_NUMBER) + number(LAST_NUMBER),)
    _, older, hand, *_ = numbers
    edge, next_one = ((*places[rank : rank + 1], *end)[0] for rank in (older, hand))
    transaction.put(session, NUMBERS.pack(*numbers) + edge + next_one, db=tables.thinned)


class Place:
    """A finger of `thinning` on the rows of a session."""

    def __init__(self, transaction: Transaction, tables: Tables, session: bytes, place: bytes) -> None:
        self._transaction = transaction
        self._table = tables.rows
        self._session = session
        self._key = b""
        self.place = place

    def look(self) -> Seen:
        with self._transaction.cursor(self._table) as cursor:
            cursor.set_range(self._session + self.place)
            self._key = bytes(cursor.key())
            self.place = self._key[16:]
            return Seen(int.from_bytes(self.place[:8], "big"), is_notable(bytes(cursor.value())))

    def move(self) -> None:
        self.place = (int.from_bytes(self.place, "big") + 1).to_bytes(16, "big")

    def remove(self) -> None:
        self._transaction.delete(self._key, db=self._table)

    def rewind(self) -> None:
        self.place = FIRST

    def note_added(self, place: bytes) -> None:
        """Note that a row was added at another place."""
        if place < self.place:
            key = next(descending(self._transaction, self._table, self._session, self.place))
            self.place = key[16:]


class Thinner:
    """The thinning of one session: `kept` is what the file has of it."""

    def __init__(self, transaction: Transaction, tables: Tables, session: bytes, kept: bytes | None = None) -> None:
        self._transaction = transaction
        self._table = tables.thinned
        self._session = session
        numbers, places = (NUMBERS.unpack(kept[:40]), kept[40:]) if kept else ((), 2 * FIRST)
        self._thinning = Thinning(*numbers)
        self._edge = Place(transaction, tables, session, places[:16])
        self._hand = Place(transaction, tables, session, places[16:])

    def note_forgotten(self, count: int) -> None:
        """Note that the newest rows were removed, and `count` are left."""
        if self._thinning.forget(count):
            self._edge.rewind()
            self._hand.rewind()

    def note_added(self, place: bytes) -> None:
        """Note that a row was added."""
        self._edge.note_added(place)
        self._hand.note_added(place)

    def thin(self, count: int, limit: int) -> int:
        """Remove rows beyond `limit`; return how many."""
        return self._thinning.thin(count, limit, self._edge, self._hand)

    def save(self) -> None:
        """Write the thinning to the file."""
        numbers = NUMBERS.pack(*astuple(self._thinning))
        self._transaction.put(self._session, numbers + self._edge.place + self._hand.place, db=self._table)
