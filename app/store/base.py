"""What a store is: few verbs, by value, the same promises from all of them.

A stored session is a *head* (a small document, and the list of its pieces), its *pieces* (the state's bytes, cut every
1 MiB) and its *history* (one small row a step). The store compares versions, checks checksums and lets things expire;
what the bytes mean it does not know.
"""

import asyncio
import math
import secrets
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import ClassVar, NamedTuple, Self, TypeAlias

import xxhash

from app.errors import ServiceError, StateDamaged, StoreUnavailable
from app.store.keys import Claim, KeyMemory, UsedKey

PIECE_BYTES = 1 << 20


class VersionConflict(Exception):
    """Compare-and-save found another head (or none) than the one that the change was made from."""


class KeyUsed(VersionConflict):
    """The session has used a key of the save before: `Store.used` tells what for."""


class AlreadyCreated(VersionConflict):
    """The session of a claim was created before, and is gone."""


class Stamp(NamedTuple):
    """What tells a session's heads apart.

    A version alone does not: a store that lost its last saves (a failover, an old backup) gives their versions out
    again.
    """

    version: int
    token: str


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a session's state, by reference. `name` is unique for ever: a fresh piece never replaces another."""

    name: str
    size: int
    checksum: str

    def verify(self, session_id: str, data: memoryview | bytes | None) -> None:
        """Raise `StateDamaged` unless `data` is what was written under this name."""
        if data is None:
            found = "nothing"
        elif len(data) != self.size:
            found = f"{len(data)} bytes"
        elif (checksum := checksum_of(data)) != self.checksum:
            found = f"{len(data)} bytes with checksum {checksum}"
        else:
            return
        raise StateDamaged(
            f"session {session_id}: piece {self.name} should be {self.size} bytes with checksum {self.checksum}, "
            f"the store holds {found}; restore the store from a backup or upload a saved state",
            piece=self.name,
        )


@dataclass(frozen=True, slots=True)
class Head:
    """A session as the store sees it.

    `version` counts the saves from 1. `token` (see `new_token`) names the save that wrote it, so that a save that is
    sent twice is told from another writer's. `expires_at` is in Unix seconds; `None` never expires. The session and
    all that belongs to it vanish together.
    """

    session_id: str
    tenant: str
    version: int
    token: str
    document: bytes
    pieces: tuple[Piece, ...] = ()
    expires_at: float | None = None

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.version, self.token)

    @property
    def etag(self) -> str:
        """The session's `ETag`: every save has another."""
        return f'"{self.version}-{self.token}"'

    @property
    def expired(self) -> bool:
        """By the wall clock of this machine."""
        return self.expires_at is not None and self.expires_at <= time.time()

    @property
    def state_bytes(self) -> int:
        return sum(piece.size for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A session in a list whose head is damaged or a newer version's: its id is known, and why there is no more."""

    session_id: str
    error: ServiceError
    state_bytes: ClassVar[int] = 0
    """For a sum over a list: how many there are nobody can say."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One row of a session's history: the step it belongs to, and its bytes."""

    step: int
    body: bytes


Part: TypeAlias = tuple[Piece, memoryview]
"""A piece and its bytes."""


@dataclass(frozen=True, slots=True)
class Save:
    """One change of a session, to be done wholly or not at all.

    `previous` is the head that the change was made from, `None` for a new session. `state` are the bytes of all pieces
    of `head`, one after the other; `None` where `previous` has all of them. Rows of the history after step
    `forget_after` go. The keys of `used` are known from then on. `claimed` says that the id of a new session is that of
    a claim: it is made once, also where it is deleted again.
    """

    head: Head
    previous: Head | None
    state: memoryview | None = None
    row: HistoryRow | None = None
    forget_after: int | None = None
    used: tuple[UsedKey, ...] = ()
    claimed: bool = False

    def is_done(self, held: Stamp | None) -> bool:
        """Whether the store, which holds `held`, has this change already.

        Raises `VersionConflict` where it has not and does not hold `previous` either.
        """
        if held is not None and held.token == self.head.token:
            return True
        expected = self.previous.stamp if self.previous else None
        if held != expected:
            raise VersionConflict(f"session {self.head.session_id}: the store holds {held}, not {expected}")
        return False

    @property
    def parts(self) -> list[Part]:
        """The pieces of `head`, as far as there are bytes of them."""
        if self.state is None:
            return []
        bounds = pairwise(accumulate((piece.size for piece in self.head.pieces), initial=0))
        return [(piece, self.state[start:end]) for piece, (start, end) in zip(self.head.pieces, bounds, strict=True)]

    @property
    def fresh(self) -> list[Part]:
        """Those that `previous` does not have."""
        kept = {piece.name for piece in self.previous.pieces} if self.previous else set()
        return [(piece, data) for piece, data in self.parts if piece.name not in kept]

    @property
    def obsolete(self) -> list[Piece]:
        """The pieces of `previous` that `head` does not have."""
        kept = {piece.name for piece in self.head.pieces}
        return [piece for piece in (self.previous.pieces if self.previous else ()) if piece.name not in kept]


class Saving:
    """A save under way, lent by `Store.saving`: its pieces may leave while the rest of it is still computed.

    `token` is that of the head which the save will have. Nothing names the pieces until `save` does. It is held by
    `async with`, several times where a save may outlive the request: where no save came, the last who leaves removes
    the pieces. What is left by a process that dies in between is removed by time. This one is for a store that has
    nothing to gain: the pieces go with the save.
    """

    def __init__(self, store: "Store", token: str) -> None:
        self._store = store
        self._holders = 0
        self.token = token

    def write(self, part: Part) -> None:
        """Take a piece, from any thread. It returns at once, and nothing is raised: `save` tells what went wrong."""

    async def save(self, save: Save) -> None:
        """Do as `Store.save`, with the pieces that were written. Where it raises, nothing of them stays for long."""
        await self._store.save(save)

    async def discard(self) -> None:
        """Remove what was written and not saved: at once, or, where that fails, by time. Whoever still writes then
        writes nothing."""

    async def __aenter__(self) -> Self:
        self._holders += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._holders -= 1
        if not self._holders:
            await asyncio.shield(self.discard())


class Store(ABC):
    """The verbs. All may raise `StoreUnavailable`; after that a save may or may not have happened.

    Values are never changed after they were handed over, in either direction. Any number of processes may use one
    store at once, but for `memory:`, which lives in its process.
    """

    history_limit: int
    """How many of the latest rows of a session's history are kept."""
    key_memory = KeyMemory()

    @abstractmethod
    async def open(self) -> None:
        """Make ready. Raises `IncompatibleStore` for a store that a newer version wrote."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of files and connections; what was saved stays saved."""

    @abstractmethod
    async def ping(self) -> None:
        """Return if the store can be written. What that leaves behind is bounded, and no session's."""

    async def warnings(self) -> list[str]:
        """What an operator should know of the place where things are kept. To be asked once it is open."""
        return []

    @abstractmethod
    async def load(self, session_id: str) -> Head | None:
        """The head, or `None` where there is none or it has expired.

        Raises `StateDamaged`, and `IncompatibleStore` for a head that a newer version wrote.
        """

    @abstractmethod
    async def read(self, head: Head, into: memoryview) -> None:
        """Fill `into` (`head.state_bytes` bytes) with the pieces, each checked.

        Raises `VersionConflict` where the session has moved on from `head` meanwhile, `StateDamaged` where it has not
        and a piece is missing or not what was written.
        """

    def saving(self, session_id: str, token: str) -> Saving:
        """Lend a saving, to write pieces of a save whose head will have this token. Called in the event loop."""
        return Saving(self, token)

    @abstractmethod
    async def save(self, save: Save) -> None:
        """Do it if the store holds `save.previous`, else raise `VersionConflict`.

        Raises `KeyUsed` where a key of `save.used` is known, and `AlreadyCreated` where `save.claimed` and the
        session was there before, not longer ago than claims are known.

        When it returns, the save is as durable as the store can make it. When it raises, the old state is whole.
        The same `Save` given twice happens once.
        """

    @abstractmethod
    async def delete(self, session_id: str, expected: Stamp | None = None) -> bool:
        """Remove the session and all that belongs to it; say whether there was one.

        Raises `VersionConflict` where there is one, and it is not at `expected`.
        """

    @abstractmethod
    async def used(self, session_id: str, digest: str) -> bytes | None:
        """The row of a key that the session has used, `None` where that is not known (any more)."""

    @abstractmethod
    async def claim(self, claim: Claim) -> Claim:
        """Keep the claim, unless there is one for that tenant and key; give back the one that is kept.

        It is known for `key_memory.seconds` at least, and for as long as its session lives.
        """

    @abstractmethod
    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        """Rows of steps after `after`, oldest first: `limit` of them, and those that share the last one's step."""

    @abstractmethod
    async def latest(self, session_id: str, count: int) -> list[bytes]:
        """Return the newest `count` rows of the history, oldest first."""

    @abstractmethod
    async def sweep(self) -> int:
        """Remove what has expired and what interrupted saves left over; say how many things went."""

    @abstractmethod
    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        """Up to `limit` of the tenant's sessions, greatest id first (ids grow with time), with ids below `before`."""

    @abstractmethod
    async def is_listed(self, tenant: str, session_id: str) -> bool:
        """Whether the session stands in the tenant's list; for one whose head cannot say whose it is."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class IncompatibleStore(StoreUnavailable):
    """The store, or this one session, was written by a newer version of the service, or is not of its making."""

    should_retry: ClassVar[bool | None] = False


def new_token() -> str:
    """A name that no other save has."""
    return secrets.token_hex(6)


def checksum_of(data: memoryview | bytes) -> str:
    """XXH3, 128 bits, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def cut(data: memoryview) -> list[memoryview]:
    """A state's bytes as pieces of `PIECE_BYTES`; the last may be shorter."""
    return [data[i * PIECE_BYTES : (i + 1) * PIECE_BYTES] for i in range(math.ceil(len(data) / PIECE_BYTES))]
