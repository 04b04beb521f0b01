"""The documents of workers and rounds, as answers have them."""

from collections.abc import Iterable
from typing import Any

from app import plain
from app.session import Session
from app.worker_settings import RoundSettings
from app.workers import rounds
from app.workers.entry import Entry
from app.workers.ledger import Ledger, Worker
from app.workers.round_rows import RoundRow
from app.workers.rounds import Progress

OPEN, APPLIED = "open", "applied"

Document = dict[str, Any]


def joined(session: Session, worker: Worker) -> Document:
    """Return a worker that has joined, and where the session stands."""
    return {
        "worker": worker.name,
        "epoch": worker.epoch,
        "round": session.step + 1,
        "step": session.step,
        "digest": session.digest,
        "lease_expires_at": plain.instant(worker.expires_at),
    }


def roster(ledger: Ledger, now: float) -> Document:
    """Return all workers, in the order of their names."""
    return {"workers": [_worker(worker, now) for worker in ledger.present]}


def _worker(worker: Worker, now: float) -> Document:
    last = worker.last
    return {
        "worker": worker.name,
        "epoch": worker.epoch,
        "lease_expires_at": plain.instant(worker.expires_at),
        "expired": worker.expires_at <= now,
        "last_round": last.round if last else None,
        "last_contribution_at": plain.instant(last.at) if last else None,
        "lateness_seconds": last.lateness if last else None,
    }


def progress(state: Progress) -> Document:
    """Return where an open round stands."""
    return {
        "round": state.round,
        "state": OPEN,
        "have": state.have,
        "need": state.need,
        "closes_at": plain.instant(state.closes_at),
    }


def standing(session: Session, ledger: Ledger) -> Document:
    """Return the open round as a session has it. Without rounds, it is the next step."""
    settings = session.workers
    beside: Document = {"have": 0, "need": 0, "closes_at": None}
    if isinstance(settings, RoundSettings) and (not ledger.waiting or ledger.round == session.step + 1):
        found = progress(rounds.progress(settings, ledger, session.step))
        beside = {name: found[name] for name in beside}
    return {"round": session.step + 1, **beside, "workers": len(ledger.present)}


def opened(state: Progress, ledger: Ledger) -> Document:
    """Return an open round: those who are in, and what was dropped so far."""
    entries = [contribution.entry for contribution in ledger.waiting] + [drop.entry for drop in ledger.dropped]
    return {**progress(state), "step": None, "digest": None, "contributions": _entries(entries)}


def applied(number: int, row: RoundRow | None) -> Document:
    """Return a round that is a step; without contributions if the history has no row of it any more."""
    entries = row.entries if row else ()
    have = sum(entry.fate == "applied" for entry in entries)
    return {
        "round": number,
        "state": APPLIED,
        "have": have,
        "need": 0,
        "closes_at": None,
        "step": number,
        "digest": row.digest if row else None,
        "contributions": _entries(entries),
    }


def _entries(entries: Iterable[Entry]) -> list[Document]:
    return [{name: value for name, value in entry.document().items() if name != "digest"} for entry in entries]
