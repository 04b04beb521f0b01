"""The roster of a session's workers: joining, renewing a lease, leaving, and which epoch is a worker's present one.

Pure functions of the ledger and the time: no I/O, no clock. Each join has an epoch of its own, a number that rises over
the whole session. It fences the worker's older holder. The end of a lease fences nobody: it only makes the worker one
that may be forgotten when another one needs its place.
"""

from dataclasses import replace
from typing import NamedTuple

from app.errors import QuotaExceeded, WorkerFenced
from app.worker_settings import MOST_WORKERS, WorkerSettings, check_name
from app.workers.ledger import Ledger, Worker

MOST_JOINS = 4
"""The joins of a worker whose keys are known: as many may be under way and come late."""


class Joined(NamedTuple):
    """The result of a join: the ledger to save, and the worker in it. The same ledger if the join was done before."""

    ledger: Ledger
    worker: Worker
    repeated: bool = False


def join(settings: WorkerSettings, ledger: Ledger, name: str, key: str | None, now: float) -> Joined:
    """Let a worker join with a new epoch, or find the epoch of the same join, if its idempotency key is known.

    `key` is the digest of that key. Raises `WorkerFenced` if the worker has joined again since the join with that key,
    `QuotaExceeded` if all places are taken by workers with a lease, and `InvalidSession` for the name.
    """
    old = ledger.workers.get(check_name(name))
    joins = old.joins if old else ()
    epoch = None if key is None else dict(joins).get(key)
    if epoch is not None and old is not None:
        if epoch != old.epoch:
            raise _fenced(f"this join of worker {name!r} gave it epoch {epoch}, and it has joined again since", name)
        return Joined(ledger, old, repeated=True)
    ledger = _with_room(ledger, name, now)
    epoch = ledger.epoch + 1
    joins = joins if key is None else (*joins, (key, epoch))[-MOST_JOINS:]
    began = Worker(name, epoch, now + settings.lease_seconds)
    worker = replace(old or began, epoch=epoch, expires_at=began.expires_at, joins=joins, has_left=False)
    return Joined(replace(ledger.with_worker(worker), epoch=epoch), worker)


def renew(settings: WorkerSettings, ledger: Ledger, name: str, epoch: int, now: float) -> Joined:
    """Renew a worker's lease, also one that has ended. Raises `WorkerFenced`."""
    worker = check_epoch(ledger, name, epoch)
    worker = replace(worker, expires_at=max(worker.expires_at, now + settings.lease_seconds))
    return Joined(ledger.with_worker(worker), worker)


def leave(ledger: Ledger, name: str, epoch: int | None = None) -> Ledger:
    """Return the ledger without a worker; the same if it is not in it. What it contributed stays in its round.

    With an `epoch`, only the holder of that one leaves. Raises `WorkerFenced` for an older one.
    """
    worker = ledger.workers.get(name)
    if worker is None or worker.has_left:
        return ledger
    if epoch is not None:
        check_epoch(ledger, name, epoch)
    if worker.turn is None:
        return _without(ledger, name)
    return ledger.with_worker(replace(worker, expires_at=0.0, joins=(), has_left=True))


def _without(ledger: Ledger, name: str) -> Ledger:
    return replace(ledger, workers={other: worker for other, worker in ledger.workers.items() if other != name})


def check_epoch(ledger: Ledger, name: str, epoch: int) -> Worker:
    """Return the worker whose present epoch this is. Raises `WorkerFenced`."""
    worker = ledger.workers.get(name)
    if worker is None or worker.has_left:
        raise _fenced(f"worker {name!r:.140} has not joined, or has left", name)
    if worker.epoch != epoch:
        raise _fenced(
            f"worker {name!r} has epoch {worker.epoch}, and this is {epoch}: another process has joined as it", name
        )
    return worker


def _fenced(why: str, name: str) -> WorkerFenced:
    words = "to go on, join (PUT …/workers/{worker} with `{}`), which fences the other holder of the name"
    return WorkerFenced(f"{why}; {words}", worker=name)


def _with_room(ledger: Ledger, name: str, now: float) -> Ledger:
    """Return the ledger with a place for the worker. Where there is none, the longest expired worker goes."""
    if name in ledger.workers or len(ledger.workers) < MOST_WORKERS:
        return ledger
    oldest = min(ledger.workers.values(), key=lambda worker: (worker.expires_at, worker.name))
    if oldest.expires_at > now:
        words = "let one leave (DELETE …/workers/{worker}), or wait for a lease to end"
        raise QuotaExceeded(f"the session has {MOST_WORKERS} workers, all with a lease; {words}", limit=MOST_WORKERS)
    return _without(ledger, oldest.name)
