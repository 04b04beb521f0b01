"""What stands in the LMDB file, and every change of it: each function runs inside one transaction.

    heads    digest(session)                an envelope
    index    digest(tenant) session         nothing
    pieces   digest(session) name           a piece's bytes
    rows     digest(session) step version   a row of the history
             digest(session)                how many rows there are
    staging  digest(session) token          what a save has written before its last transaction: when, session, names

A digest stands for a name so that every name fits into a key: LMDB's have at most 511 bytes. A function that raises
`VersionConflict` or a `ServiceError` has changed nothing.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from app.errors import StateDamaged, StoreUnavailable
from app.store.base import Head, IncompatibleStore, Part, Save, Stamp, Unreadable, VersionConflict
from app.store.envelope import decode, encode, has_expired, listed, peek

if TYPE_CHECKING:
    import lmdb

    Transaction: TypeAlias = lmdb.Transaction[memoryview]
    Table: TypeAlias = lmdb._Database

STAGED_SECONDS = 3600.0
"""How long a save of many pieces may take; what is older was left by a process that died."""

LAST_NUMBER = (1 << 64) - 1
ABOVE_ALL = b"\xff"
"""What follows a session or tenant in a key is below: UTF-8 never has it, and no step is so great."""


def digest(name: str) -> bytes:
    """The part of a key that stands for a session or a tenant."""
    return blake2b(name.encode(), digest_size=16).digest()


def number(value: int) -> bytes:
    """A step, a version or a count, so that keys sort as numbers do."""
    return min(max(value, 0), LAST_NUMBER).to_bytes(8, "big")


def staging_key(session_id: str, token: str) -> bytes:
    return digest(session_id) + token.encode()


@dataclass(frozen=True, slots=True)
class Tables:
    """The named databases of the file; a field's name is the database's."""

    heads: "Table"
    index: "Table"
    pieces: "Table"
    rows: "Table"
    staging: "Table"

    # Reading

    def held(self, transaction: "Transaction", session_id: str) -> Stamp | None:
        """The stamp of a session that is there and has not expired."""
        data = transaction.get(digest(session_id), db=self.heads)
        if data is None:
            return None
        label = peek(session_id, data)
        return None if label.expired else label.stamp

    def head(self, transaction: "Transaction", session_id: str) -> Head | None:
        data = transaction.get(digest(session_id), db=self.heads)
        return None if data is None or has_expired(data) else decode(session_id, bytes(data))

    def fill(self, transaction: "Transaction", head: Head, into: memoryview) -> None:
        if self.held(transaction, head.session_id) != head.stamp:
            raise VersionConflict(f"session {head.session_id} is no longer at {head.stamp}")
        session, offset = digest(head.session_id), 0
        for piece in head.pieces:
            data = transaction.get(session + piece.name.encode(), db=self.pieces)
            piece.verify(head.session_id, data)
            into[offset : offset + piece.size] = data or b""
            offset += piece.size

    def history(self, transaction: "Transaction", session_id: str, after: int, limit: int) -> list[bytes]:
        if self.held(transaction, session_id) is None:
            return []
        session, bodies, last = digest(session_id), list[bytes](), b""
        for key, body in _ascending(transaction, self.rows, session, number(after + 1)):
            step = key[16:24]
            if len(bodies) >= limit and step != last:
                break
            bodies.append(bytes(body))
            last = step
        return bodies

    def latest(self, transaction: "Transaction", session_id: str, count: int) -> list[bytes]:
        if self.held(transaction, session_id) is None:
            return []
        session = digest(session_id)
        keys = (key for key in _descending(transaction, self.rows, session, ABOVE_ALL) if key != session)
        return [bytes(transaction.get(key, b"", db=self.rows)) for key in islice(keys, count)][::-1]

    def is_listed(self, transaction: "Transaction", tenant: str, session_id: str) -> bool:
        return transaction.get(digest(tenant) + session_id.encode(), db=self.index) is not None

    def page(self, transaction: "Transaction", tenant: str, limit: int, before: str | None) -> list[Head | Unreadable]:
        heads: list[Head | Unreadable] = []
        for key in _descending(transaction, self.index, digest(tenant), before.encode() if before else ABOVE_ALL):
            if len(heads) >= limit:
                break
            session_id = key[16:].decode()
            heads += listed(tenant, session_id, transaction.get(digest(session_id), db=self.heads))
        return heads

    def leftovers(self, transaction: "Transaction") -> tuple[list[bytes], list[bytes]]:
        """Rows of the index whose session is gone or has expired, and keys of staging that are too old."""
        rows = (row for row, _ in _ascending(transaction, self.index, b""))
        dead = [row for row in rows if self._is_dead(transaction, row[16:].decode())]
        oldest = time.time() - STAGED_SECONDS
        notes = _ascending(transaction, self.staging, b"")
        return dead, [key for key, note in notes if float(bytes(note).partition(b"\n")[0]) < oldest]

    def _is_dead(self, transaction: "Transaction", session_id: str) -> bool:
        data = transaction.get(digest(session_id), db=self.heads)
        return data is None or has_expired(data)

    # Writing

    def stage(self, transaction: "Transaction", session_id: str, token: str, part: Part) -> None:
        """Write a piece that nothing names yet, and note it, so that a sweep finds it if no commit comes."""
        key = staging_key(session_id, token)
        note = transaction.get(key, db=self.staging)
        if note is None and self.held(transaction, session_id) is None:
            self._purge(transaction, session_id)
        begun = f"{time.time()!r}\n{session_id}".encode() if note is None else bytes(note)
        transaction.put(key, b"%s\n%s" % (begun, part[0].name.encode()), db=self.staging)
        self._put(transaction, session_id, [part])

    def commit(
        self,
        transaction: "Transaction",
        change: Save,
        rest: Sequence[Part],
        staged: Collection[str],
        history_limit: int,
    ) -> None:
        """The last transaction of a save: the compare, the new head, and all that goes with it.

        `rest` is what has not been staged, `staged` the names of what has.
        """
        head, session = change.head, digest(change.head.session_id)
        key = staging_key(head.session_id, head.token)
        done = change.is_done(self.held(transaction, head.session_id))
        if not done and staged and not self._noted(transaction, key).issuperset(staged):
            raise StoreUnavailable(
                f"session {head.session_id}: its save took over {STAGED_SECONDS:.0f} s; send it again"
            )
        transaction.delete(key, db=self.staging)
        if done:
            return
        if change.previous is None and not staged:
            self._purge(transaction, head.session_id)
        self._put(transaction, head.session_id, rest)
        for piece in change.obsolete:
            transaction.delete(session + piece.name.encode(), db=self.pieces)
        transaction.put(session, encode(head), db=self.heads)
        transaction.put(digest(head.tenant) + head.session_id.encode(), b"", db=self.index)
        self._record(transaction, change, history_limit)

    def _noted(self, transaction: "Transaction", key: bytes) -> set[str]:
        """The names of what was staged under that key."""
        return set(bytes(transaction.get(key, b"", db=self.staging)).decode().split("\n")[2:])

    def unstage(self, transaction: "Transaction", key: bytes) -> int:
        """Remove what a save that did not commit has staged; count the pieces. Those that a head names stay."""
        note = transaction.get(key, db=self.staging)
        if note is None:
            return 0
        _, session_id, *names = bytes(note).decode().split("\n")
        head = self.head(transaction, session_id)
        named = {piece.name for piece in head.pieces} if head else set()
        transaction.delete(key, db=self.staging)
        session = digest(session_id)
        return sum(transaction.delete(session + name.encode(), db=self.pieces) for name in names if name not in named)

    def delete(self, transaction: "Transaction", session_id: str) -> bool:
        dead = self._is_dead(transaction, session_id)
        self._purge(transaction, session_id)
        return not dead

    def bury(self, transaction: "Transaction", row: bytes) -> int:
        """Remove a session that a row of the index names, if it is still dead; count it."""
        session_id = row[16:].decode()
        if not self._is_dead(transaction, session_id):
            return 0
        self._purge(transaction, session_id)
        transaction.delete(row, db=self.index)
        return 1

    def _purge(self, transaction: "Transaction", session_id: str) -> None:
        """Remove all that belongs to a session. The row of the index of a damaged one is left for the sweep."""
        session = digest(session_id)
        data = transaction.get(session, db=self.heads)
        if data is not None:
            with suppress(StateDamaged, IncompatibleStore):
                tenant = decode(session_id, bytes(data)).tenant
                transaction.delete(digest(tenant) + session_id.encode(), db=self.index)
            transaction.delete(session, db=self.heads)
        for table in (self.pieces, self.rows, self.staging):
            _drop(transaction, table, session)

    def _put(self, transaction: "Transaction", session_id: str, parts: Sequence[Part]) -> None:
        session = digest(session_id)
        for piece, view in parts:
            transaction.put(session + piece.name.encode(), view, db=self.pieces)

    def _record(self, transaction: "Transaction", change: Save, history_limit: int) -> None:
        """Forget, append and trim rows of the history; the session's own key in `rows` counts them."""
        session = digest(change.head.session_id)
        count = int.from_bytes(transaction.get(session, b"", db=self.rows), "big")
        if change.forget_after is not None:
            count -= _drop(transaction, self.rows, session, number(change.forget_after + 1))
        if change.row:
            key = session + number(change.row.step) + number(change.head.version)
            transaction.put(key, change.row.body, db=self.rows)
            count += 1
        if count > history_limit:
            count -= _drop(transaction, self.rows, session, number(0), count - history_limit)
        transaction.put(session, number(count), db=self.rows)


def _ascending(
    transaction: "Transaction", table: "Table", prefix: bytes, start: bytes = b""
) -> Iterator[tuple[bytes, memoryview]]:
    """Keys that begin with `prefix`, from `prefix + start` on, with their values."""
    with transaction.cursor(table) as cursor:
        found = cursor.set_range(prefix + start)
        while found and (key := bytes(cursor.key())).startswith(prefix):
            yield key, cursor.value()
            found = cursor.next()


def _descending(transaction: "Transaction", table: "Table", prefix: bytes, before: bytes) -> Iterator[bytes]:
    """Keys that begin with `prefix` and are below `prefix + before`, the greatest first."""
    with transaction.cursor(table) as cursor:
        found = cursor.prev() if cursor.set_range(prefix + before) else cursor.last()
        while found and (key := bytes(cursor.key())).startswith(prefix):
            yield key
            found = cursor.prev()


def _drop(
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
