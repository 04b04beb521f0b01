"""Pushes of workers, and ledgers that they have joined, for the tests of the pure decisions about rounds."""

from typing import Any

from app.worker_settings import AsyncSettings, RoundSettings, WorkerSettings
from app.workers import roster
from app.workers.ledger import Ledger
from app.workers.push import Push
from optim_engine import NonFinite

ROUNDS = RoundSettings(expected=3, quorum=2, deadline_seconds=60, grace_seconds=2)
ASYNC = AsyncSettings()
BAD = NonFinite("w", (1, 2), float("nan"))


def joined(*names: str, settings: WorkerSettings = ROUNDS, ledger: Ledger | None = None) -> Ledger:
    """Return the ledger after these workers have joined at time 0."""
    ledger = ledger or Ledger()
    for name in names:
        ledger = roster.join(settings, ledger, name, None, 0.0).ledger
    return ledger


def push_of(ledger: Ledger, worker: str, digest: str = "", **fields: Any) -> Push:
    """Return a push of a worker with its present epoch; `digest` is that of its content, else the worker's name."""
    return Push(
        **{"worker": worker, "epoch": ledger.workers[worker].epoch, "digest": digest or worker, "norm": 1.0, **fields}
    )
