"""The ledger of a session, and the verbs of a store about it.

A ledger is a second small document beside the head: what the workers of a session must decide together. It changes by
compare-and-save under a stamp of its own, so it changes without the head. Both change together in one save that has
both (`Save.ledger`). Its pieces are the contributions that wait. A ledger lives and dies with its session. A session
has none until the first one is saved.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.store.generation import ReplacedRow
from app.store.piece import Part, Piece
from app.store.stamp import Stamp, expect


@dataclass(frozen=True, slots=True)
class Ledger:
    """A session's ledger as the store sees it.

    `version` counts the saves from 1. `token` (see `new_token`) names the save that wrote it. `due_at` is the time, by
    the store's clock, at which somebody must look at the ledger.
    """

    session_id: str
    version: int
    token: str
    document: bytes
    pieces: tuple[Piece, ...] = ()
    due_at: float | None = None

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.version, self.token)


@dataclass(frozen=True, slots=True)
class LedgerSave:
    """One change of a ledger, saved as a whole or not at all.

    `previous` is the ledger that the change was made from, `None` for a session's first. `parts` are the pieces of
    `ledger` that `previous` does not have, with their bytes. The pieces of `previous` that `ledger` does not have are
    removed. `replaced` are rows of the history to replace; those that are gone stay gone.
    """

    ledger: Ledger
    previous: Ledger | None
    parts: tuple[Part, ...] = ()
    replaced: tuple[ReplacedRow, ...] = ()

    def is_done(self, held: Stamp | None) -> bool:
        """Return whether the store, which holds `held`, has this change already.

        Raises `VersionConflict` if it has not and does not hold `previous` either.
        """
        if held is not None and held.token == self.ledger.token:
            return True
        self.expect(held)
        return False

    def expect(self, held: Stamp | None) -> None:
        """Raise `VersionConflict` unless the store, which holds `held`, holds `previous`."""
        subject = f"the ledger of session {self.ledger.session_id}"
        expect(subject, held, self.previous.stamp if self.previous else None)

    @property
    def obsolete(self) -> list[Piece]:
        """Return the pieces of `previous` that `ledger` does not have."""
        kept = {piece.name for piece in self.ledger.pieces}
        return [piece for piece in (self.previous.pieces if self.previous else ()) if piece.name not in kept]


class Due(NamedTuple):
    """A session whose ledger may be due, and the time of that."""

    session_id: str
    due_at: float


class LedgerStore(ABC):
    """The verbs of a store about ledgers. All may raise `StoreUnavailable`; after that a save may or may not have
    happened."""

    @abstractmethod
    async def ledger(self, session_id: str) -> Ledger | None:
        """Return the session's ledger, `None` if it has none, does not exist or has expired.

        Raises `StateDamaged`, and `IncompatibleStore` for a ledger that a newer version wrote.
        """

    @abstractmethod
    async def save_ledger(self, save: LedgerSave) -> None:
        """Save the ledger if the session exists and the store holds `save.previous`, else raise `VersionConflict`.

        When it returns, the save is as durable as the store can make it. When it raises, the old ledger is whole.
        The same save given twice happens once. The head stays as it is, and so does the time at which it expires.
        """

    @abstractmethod
    async def contents(self, ledger: Ledger, pieces: Sequence[Piece]) -> list[memoryview]:
        """Return the bytes of some pieces of a ledger, each checked.

        Raises `VersionConflict` if the session's ledger has moved on from `ledger` meanwhile, `StateDamaged` if it has
        not and a piece is missing or differs from what was written.
        """

    @abstractmethod
    async def due(self) -> list[Due]:
        """Return the session and the time of each ledger that has a `due_at`.

        None is missing. There may be more, of sessions that are gone, and of ledgers that are gone or never were: a
        session may be named more than once. Only a look at the ledger tells whether its time is that one.
        """

    async def now(self) -> float:
        """Return the time by the store's clock, in Unix seconds: the same for all processes that share the store."""
        return time.time()
