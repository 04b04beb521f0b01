"""The ledger as a value: the workers of a session, the contributions of its open round, and those that were dropped.

The store keeps it beside the session's head (`ledger_document` writes it). Knows no HTTP, no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from app.store.piece import Piece
from app.workers.entry import Entry

MOST_DROPPED = 1024
"""The most dropped contributions that are recorded for one step. Beyond it a refusal is told to its sender alone."""


@dataclass(frozen=True, slots=True)
class Last:
    """The last contribution of a worker: its round, when it came, and how many seconds after the round's first one.

    `lateness` is `None` if it is not known any more when that round began, and in the asynchronous mode.
    """

    round: int
    at: float
    lateness: float | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The last asynchronous contribution of a worker that became a step: its number, its digest, and the step."""

    seq: int
    digest: str
    step: int


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that has joined.

    `expires_at` is the end of its lease. `joins` has the last joins with a key: the key's digest, and the epoch. One
    that has left is kept for its `turn` alone: a contribution that is sent again after a new join is still known.
    """

    name: str
    epoch: int
    expires_at: float
    joins: tuple[tuple[str, int], ...] = ()
    last: Last | None = None
    turn: Turn | None = None
    has_left: bool = False


@dataclass(frozen=True, slots=True)
class Contribution:
    """A contribution that waits in the open round: its record, when it came, and the pieces of its gradients."""

    entry: Entry
    at: float
    loss: float | None = None
    pieces: tuple[Piece, ...] = ()

    @property
    def worker(self) -> str:
        return self.entry.worker


@dataclass(frozen=True, slots=True)
class Dropped:
    """A contribution that was dropped before its round became a step, so no row of the history has it yet."""

    round: int
    entry: Entry

    def is_of(self, other: "Dropped") -> bool:
        """Return whether both are the same contribution, sent with the same epoch."""
        key = [(drop.round, drop.entry.worker, drop.entry.epoch, drop.entry.digest) for drop in (self, other)]
        return key[0] == key[1]


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that workers decide together. An immutable value: a decision makes a new one.

    `epoch` is the last one that was given. `waiting` are the contributions of the open round, whose number is `round`,
    in the order of the workers' names. `began` is the last closed round, and when its first contribution came.
    """

    epoch: int = 0
    workers: Mapping[str, Worker] = field(default_factory=dict)
    round: int | None = None
    waiting: tuple[Contribution, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    began: tuple[int, float] | None = None

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Return the pieces of all waiting contributions."""
        return tuple(piece for contribution in self.waiting for piece in contribution.pieces)

    @property
    def present(self) -> list[Worker]:
        """Return the workers that have not left, in the order of their names."""
        return [self.workers[name] for name in sorted(self.workers) if not self.workers[name].has_left]

    def of(self, worker: str) -> Contribution | None:
        """Return the waiting contribution of a worker."""
        return next((found for found in self.waiting if found.worker == worker), None)

    def with_worker(self, worker: Worker) -> "Ledger":
        """Return the ledger with that worker, in the place of one of the same name."""
        return replace(self, workers={**self.workers, worker.name: worker})

    def with_last(self, name: str, last: Last, expires_at: float, turn: Turn | None = None) -> "Ledger":
        """Return the ledger after a contribution of one of its workers, which renews the worker's lease."""
        worker = self.workers[name]
        expires_at, turn = max(worker.expires_at, expires_at), turn or worker.turn
        return self.with_worker(replace(worker, last=last, expires_at=expires_at, turn=turn))

    def with_dropped(self, round_number: int, entry: Entry) -> "Ledger":
        """Return the ledger with a dropped contribution recorded, once; the same if it is, or if there is no room."""
        drop = Dropped(round_number, entry)
        if len(self.dropped) >= MOST_DROPPED or any(drop.is_of(known) for known in self.dropped):
            return self
        return replace(self, dropped=(*self.dropped, drop))
