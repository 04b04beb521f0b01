"""The interface of a store: few verbs, by value, with the same promises from all stores.

A stored session is a *head* (a small document, and the list of its pieces), its *pieces* (the state's bytes, cut every
1 MiB, and those of earlier generations) and its *history* (`history.py`: one small row a step, and marks between them).
One with workers has a *ledger* too (`ledger.py`). The store compares versions, checks checksums and lets things expire;
it does not know the meaning of the bytes.
"""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import ClassVar, Self

from app.errors import ServiceError, StoreUnavailable
from app.metrics.families import Family
from app.store.generation import Generation, ReplacedRow, Undone
from app.store.history import HistoryRow, HistoryStore, Mark
from app.store.keys import Claim, KeyMemory, UsedKey
from app.store.lazy import Lazy
from app.store.ledger import LedgerSave, LedgerStore
from app.store.piece import Part, Piece
from app.store.stamp import Stamp, VersionConflict, expect
from app.store.usage import Usage


class KeyUsed(VersionConflict):
    """The session has used a key of the save before; `Store.used` returns its row."""


class AlreadyCreated(VersionConflict):
    """The session of a claim was created before and deleted since."""


@dataclass(frozen=True)
class Head:
    """A session as the store sees it.

    `version` counts the saves from 1. `token` (see `new_token`) names the save that wrote the head: so a save that is
    sent twice differs from another writer's. `expires_at` is in Unix seconds; `None` never expires. The session and all
    that belongs to it vanish together. `leftovers` is a store's own note: the names of the replaced pieces that it may
    still hold. `earlier` are the generations to which the session can go back, the newest first.
    """

    session_id: str
    tenant: str
    version: int
    token: str
    document: Lazy = Lazy()
    pieces: tuple[Piece, ...] = ()
    expires_at: float | None = None
    leftovers: tuple[str, ...] = field(default=(), compare=False)
    earlier: tuple[Generation, ...] = ()

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.version, self.token)

    @property
    def etag(self) -> str:
        """Return the session's `ETag`: each save has a new one."""
        return f'"{self.version}-{self.token}"'

    @property
    def expired(self) -> bool:
        """Return whether the session has expired, by the wall clock of this machine."""
        return self.expires_at is not None and self.expires_at <= time.time()

    @property
    def is_unwritten(self) -> bool:
        """Return whether the document was given as a function, which writes it when it is read."""
        return callable(self.__dict__["document"])

    @property
    def state_bytes(self) -> int:
        return sum(piece.size for piece in self.pieces)

    @property
    def kept(self) -> tuple[Piece, ...]:
        """Return all pieces that belong to the session: those of its state first, then what else generations have."""
        if not self.earlier:
            return self.pieces
        found = {piece.name: piece for piece in self.pieces}
        for generation in self.earlier:
            found |= {piece.name: piece for piece in generation.all_pieces}
        return tuple(found.values())

    @property
    def kept_bytes(self) -> int:
        """Return the bytes of the state and of earlier ones, without their documents; a shared piece counts once."""
        documents = {generation.document.name for generation in self.earlier}
        return sum(piece.size for piece in self.kept if piece.name not in documents)

    def with_pieces(self, pieces: tuple[Piece, ...], document: bytes = b"") -> "Head":
        """Return the same head with other pieces that belong to the session, for `Store.read`."""
        return Head(self.session_id, self.tenant, self.version, self.token, document, pieces, self.expires_at)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A listed session with a damaged head, or a newer version's: its id and the error of reading it."""

    session_id: str
    error: ServiceError
    state_bytes: ClassVar[int] = 0
    """Zero in a sum over a list, because the size is unknown."""
    kept_bytes: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Save:
    """One change of a session, saved as a whole or not at all.

    `previous` is the head that the change was made from, `None` for a new session. `state` are the bytes of all pieces
    of `head`, one after the other; `None` if `previous` has all of them. Rows of the history after step `forget_after`
    are removed. The keys of `used` are known from then on. `claimed` says that the new session has the id of a claim:
    it is created once, even if it is deleted later. `beside` are pieces that `head` keeps in addition to its state's
    and that `previous` does not have; `undone` are the traces of a step that the save undoes. `ledger` is the change of
    the session's ledger that goes with it: the store must hold both previous ones. `row` and `mark` get the version of
    `head` as their number.
    """

    head: Head
    previous: Head | None
    state: memoryview | None = None
    row: HistoryRow | None = None
    forget_after: int | None = None
    used: tuple[UsedKey, ...] = ()
    claimed: bool = False
    beside: tuple[Part, ...] = ()
    undone: Undone | None = None
    ledger: LedgerSave | None = None
    mark: Mark | None = None

    def is_done(self, held: Stamp | None) -> bool:
        """Return whether the store, which holds `held`, has this change already.

        Raises `VersionConflict` if it has not and does not hold `previous` either.
        """
        if held is not None and held.token == self.head.token:
            return True
        expect(f"session {self.head.session_id}", held, self.previous.stamp if self.previous else None)
        return False

    @property
    def parts(self) -> list[Part]:
        """Return the pieces of `head` with their bytes; none without `state`."""
        if self.state is None:
            return []
        if len(self.head.pieces) == 1:
            return [(self.head.pieces[0], self.state)]
        bounds = pairwise(accumulate((piece.size for piece in self.head.pieces), initial=0))
        return [(piece, self.state[start:end]) for piece, (start, end) in zip(self.head.pieces, bounds, strict=True)]

    @property
    def fresh(self) -> list[Part]:
        """Return the parts whose pieces `previous` does not have."""
        kept = {piece.name for piece in self.previous.kept} if self.previous else set()
        return [(piece, data) for piece, data in (*self.parts, *self.beside) if piece.name not in kept]

    @property
    def all_fresh(self) -> list[Part]:
        """Return the fresh parts, and those of the ledger."""
        return [*self.fresh, *(self.ledger.parts if self.ledger else ())]

    @property
    def replaced(self) -> tuple[ReplacedRow, ...]:
        """Return the rows of the history to replace."""
        return (*([self.undone.row] if self.undone else ()), *(self.ledger.replaced if self.ledger else ()))

    @property
    def obsolete(self) -> list[Piece]:
        """Return the pieces of `previous` that `head` does not have."""
        kept = {piece.name for piece in self.head.kept}
        return [piece for piece in (self.previous.kept if self.previous else ()) if piece.name not in kept]


class Saving:
    """A save under way, lent by `Store.saving`: its pieces may leave while the rest is still computed.

    `token` is the token of the future head. No head names the pieces until `save` does. A saving is held by
    `async with`, more than once if the save may outlive the request: if no save came, the last holder to leave removes
    the pieces. The pieces of a process that dies in between are removed after a time. This class is for a store that
    gains nothing from an early start: its pieces go with the save.
    """

    def __init__(self, store: "Store", token: str) -> None:
        self._store = store
        self._holders = 0
        self.token = token

    def write(self, part: Part) -> None:
        """Take a piece, from any thread. Returns at once and raises nothing: `save` raises what went wrong."""

    async def save(self, save: Save) -> None:
        """Save as `Store.save` does, with the pieces that were written. If it raises, the store removes them soon."""
        await self._store.save(save)

    async def discard(self) -> None:
        """Remove the pieces that were written and not saved: at once or, if that fails, after a time.

        A piece that comes later is not written.
        """

    async def __aenter__(self) -> Self:
        self._holders += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._holders -= 1
        if not self._holders:
            await asyncio.shield(self.discard())


class Store(HistoryStore, LedgerStore, ABC):
    """The verbs of a store. All may raise `StoreUnavailable`; after that a save may or may not have happened.

    Nobody changes a value once it is passed, in either direction. Any number of processes may use one store at once,
    except `memory:`, which lives in its process.
    """

    is_instant: bool = False
    """True if a save never waits, so that nothing can interrupt it."""

    keeps_views: bool = False
    """True if the store holds the memory of the states that it was given, not a copy."""
    history_limit: int
    """The number of rows that are kept of a session's history, the latest ones."""
    key_memory = KeyMemory()

    @property
    def families(self) -> Sequence[Family]:
        """Return the metrics that only this kind of store has."""
        return ()

    @abstractmethod
    async def open(self) -> None:
        """Open the store. Raises `IncompatibleStore` if a newer version wrote it."""

    @abstractmethod
    async def close(self) -> None:
        """Close files and connections; saved sessions stay saved."""

    @abstractmethod
    async def ping(self) -> None:
        """Return if the store can be written. Any trace of the call is bounded, and touches no session."""

    @abstractmethod
    async def usage(self) -> Usage:
        """Return what is in the store. It takes a moment, also if there are many sessions."""

    async def warnings(self) -> list[str]:
        """Return warnings for an operator about the place of the store. Called once it is open."""
        return []

    @abstractmethod
    async def durability(self) -> str:
        """Return what a crash does to steps that were answered, in words. Called once the store is open."""

    @abstractmethod
    async def load(self, session_id: str) -> Head | None:
        """Return the head, or `None` if there is none or it has expired. Raises `StateDamaged`, and `IncompatibleStore`
        for a head that a newer version wrote."""

    @abstractmethod
    async def read(self, head: Head, into: memoryview) -> None:
        """Fill `into` (`head.state_bytes` bytes) with the pieces, each checked.

        Raises `VersionConflict` if the session has moved on from `head` meanwhile, `StateDamaged` if it has not and a
        piece is missing or differs from what was written.
        """

    def saving(self, session_id: str, token: str, previous: Head | None = None) -> Saving:
        """Lend a saving for a save whose head will have this token. Called in the event loop.

        `previous` is the head that the change is made from; without it, the save may be slower.
        """
        return Saving(self, token)

    def written_over(self, head: Head, state: memoryview) -> AbstractContextManager[None]:
        """Hold no view of that head's state within the block, which writes over it and then saves. A store that keeps
        views lets readers wait meanwhile, and views the state again if no save came."""
        return nullcontext()

    @abstractmethod
    async def save(self, save: Save) -> None:
        """Save the change if the store holds `save.previous`, else raise `VersionConflict`.

        Raises `KeyUsed` if a key of `save.used` is known, and `AlreadyCreated` if `save.claimed` and the session was
        created before, within the time for which claims are known.

        When it returns, the save is as durable as the store can make it. When it raises, the old state is whole.
        The same `Save` given twice happens once.
        """

    async def confirm(self, session_id: str) -> None:
        """Return once all that the store holds of a session is as durable as a save that has returned."""

    @abstractmethod
    async def delete(self, session_id: str, expected: Stamp | None = None) -> bool:
        """Delete the session and all that belongs to it; return whether it existed. Raises `VersionConflict` if it
        exists and is not at `expected`."""

    @abstractmethod
    async def used(self, session_id: str, digest: str) -> bytes | None:
        """Return the row of a key that the session has used, `None` if that is not known (any more)."""

    @abstractmethod
    async def claim(self, claim: Claim) -> Claim:
        """Keep the claim unless one is kept for that tenant and key; return the one that is kept.

        It is known for `key_memory.seconds` at least, and for as long as its session lives.
        """

    @abstractmethod
    async def sweep(self) -> int:
        """Remove expired sessions, old claims and pieces of interrupted saves; return how many things were removed."""

    @abstractmethod
    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        """Return up to `limit` of the tenant's sessions with ids below `before`, greatest (and so newest) id first."""

    @abstractmethod
    async def is_listed(self, tenant: str, session_id: str) -> bool:
        """Return whether the session is in the tenant's list; for a damaged head, which cannot name its tenant."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class IncompatibleStore(StoreUnavailable):
    """The store or the session is of a newer version of the service, or of another program."""

    should_retry: ClassVar[bool | None] = False


def new_token() -> str:
    """Return a token that no other save has."""
    return os.urandom(6).hex()
