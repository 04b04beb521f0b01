"""What stands in the LMDB file, and every change of it: each function runs inside one transaction.

    heads    digest(session)                an envelope
    index    digest(tenant) session         nothing
    pieces   digest(session) name           a piece's bytes
    rows     digest(session) step version   a row of the history
             digest(session)                how many rows there are
    staging  digest(session) token          what a save has written before its last transaction: when, session, names
    keys, claims                            as in the module `lmdb_keys`

A digest stands for a name so that every name fits into a key: LMDB's have at most 511 bytes. A function that raises
`VersionConflict` or a `ServiceError` has changed nothing.
"""

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from app.errors import StateDamaged, StoreUnavailable
from app.store import lmdb_keys
from app.store.base import Head, IncompatibleStore, Part, Save, Stamp, Unreadable, VersionConflict
from app.store.envelope import decode, encode, has_expired, listed, peek
from app.store.keys import Claim, KeyMemory, old_session_of
from app.store.lmdb_rows import ascending, descending, digest, drop, number

if TYPE_CHECKING:
    import lmdb

    Transaction: TypeAlias = lmdb.Transaction[memoryview]
    Table: TypeAlias = lmdb._Database

STAGED_SECONDS = 3600.0
"""How long a save of many pieces may take; what is older was left by a process that died."""

ABOVE_ALL = b"\xff"
"""What follows a session or tenant in a key is below: UTF-8 never has it, and no step is so great."""


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
    keys: "Table"
    claims: "Table"

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
        for key, body in ascending(transaction, self.rows, session, number(after + 1)):
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
        keys = (key for key in descending(transaction, self.rows, session, ABOVE_ALL) if key != session)
        return [bytes(transaction.get(key, b"", db=self.rows)) for key in islice(keys, count)][::-1]

    def is_listed(self, transaction: "Transaction", tenant: str, session_id: str) -> bool:
        return transaction.get(digest(tenant) + session_id.encode(), db=self.index) is not None

    def page(self, transaction: "Transaction", tenant: str, limit: int, before: str | None) -> list[Head | Unreadable]:
        heads: list[Head | Unreadable] = []
        for key in descending(transaction, self.index, digest(tenant), before.encode() if before else ABOVE_ALL):
            if len(heads) >= limit:
                break
            session_id = key[16:].decode()
            heads += listed(tenant, session_id, transaction.get(digest(session_id), db=self.heads))
        return heads

    def used(self, transaction: "Transaction", session_id: str, key: str) -> bytes | None:
        return lmdb_keys.row_of(transaction, self.keys, digest(session_id), key)

    def leftovers(
        self, transaction: "Transaction", memory: KeyMemory
    ) -> tuple[list[bytes], list[bytes], list[tuple[bytes, bytes]]]:
        """Rows of the index whose session is gone or has expired, keys of staging that are too old, and rows of claims
        that are over.
        """
        rows = (row for row, _ in ascending(transaction, self.index, b""))
        dead = [row for row in rows if self._is_dead(transaction, row[16:].decode())]
        oldest = time.time() - STAGED_SECONDS
        notes = ascending(transaction, self.staging, b"")
        stale = [key for key, note in notes if float(bytes(note).partition(b"\n")[0]) < oldest]
        claims = ((key, bytes(value)) for key, value in ascending(transaction, self.claims, b""))
        return dead, stale, [row for row in claims if self._is_over(transaction, row, memory)]

    def _is_over(self, transaction: "Transaction", row: tuple[bytes, bytes], memory: KeyMemory) -> bool:
        """Whether a row of the claims may go: an old one, if the session of its claim is dead."""
        key, value = row
        if lmdb_keys.is_creation(key):
            return memory.is_old(float(value))
        session_id = old_session_of(value, memory)
        return session_id is not None and self._is_dead(transaction, session_id)

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
        save: Save,
        rest: Sequence[Part],
        staged: Collection[str],
        history_limit: int,
        memory: KeyMemory,
    ) -> None:
        """The last transaction of a save: the compare, the new head, and all that goes with it.

        `rest` is what has not been staged, `staged` the names of what has.
        """
        head, session = save.head, digest(save.head.session_id)
        key = staging_key(head.session_id, head.token)
        done = save.is_done(self.held(transaction, head.session_id))
        if not done and staged and not self._noted(transaction, key).issuperset(staged):
            raise StoreUnavailable(
                f"session {head.session_id}: its save took over {STAGED_SECONDS:.0f} s; send it again"
            )
        if not done:
            lmdb_keys.check(transaction, self.keys, self.claims, save)
        transaction.delete(key, db=self.staging)
        if done:
            return
        if save.previous is None and not staged:
            self._purge(transaction, head.session_id)
        self._put(transaction, head.session_id, rest)
        for piece in save.obsolete:
            transaction.delete(session + piece.name.encode(), db=self.pieces)
        transaction.put(session, encode(head), db=self.heads)
        if save.previous is None:
            transaction.put(digest(head.tenant) + head.session_id.encode(), b"", db=self.index)
        lmdb_keys.remember(transaction, self.keys, self.claims, save, memory)
        self._record(transaction, save, history_limit)

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

    def claim(self, transaction: "Transaction", claim: Claim, memory: KeyMemory) -> Claim:
        key = lmdb_keys.claim_key(claim)
        held = transaction.get(key, db=self.claims)
        if held is not None and not self._is_over(transaction, (key, bytes(held)), memory):
            return Claim.decode(claim.tenant, claim.key, bytes(held))
        transaction.put(key, claim.encode(), db=self.claims)
        return claim

    def forget_claim(self, transaction: "Transaction", row: tuple[bytes, bytes], memory: KeyMemory) -> int:
        """Remove a row of the claims, if it is still there and over; count it."""
        if bytes(transaction.get(row[0], b"", db=self.claims)) != row[1] or not self._is_over(transaction, row, memory):
            return 0
        return int(transaction.delete(row[0], db=self.claims))

    def delete(self, transaction: "Transaction", session_id: str, expected: Stamp | None) -> bool:
        dead = self._is_dead(transaction, session_id)
        if not dead and expected is not None and self.held(transaction, session_id) != expected:
            raise VersionConflict(f"session {session_id} is no longer at {expected}")
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
        for table in (self.pieces, self.rows, self.staging, self.keys):
            drop(transaction, table, session)

    def _put(self, transaction: "Transaction", session_id: str, parts: Sequence[Part]) -> None:
        session = digest(session_id)
        for piece, view in parts:
            transaction.put(session + piece.name.encode(), view, db=self.pieces)

    def _record(self, transaction: "Transaction", save: Save, history_limit: int) -> None:
        """Forget, append and trim rows of the history; the session's own key in `rows` counts them."""
        session = digest(save.head.session_id)
        count = int.from_bytes(transaction.get(session, b"", db=self.rows), "big")
        if save.forget_after is not None:
            count -= drop(transaction, self.rows, session, number(save.forget_after + 1))
        if save.row:
            key = session + number(save.row.step) + number(save.head.version)
            transaction.put(key, save.row.body, db=self.rows)
            count += 1
        if count > history_limit:
            count -= drop(transaction, self.rows, session, number(0), count - history_limit)
        transaction.put(session, number(count), db=self.rows)
