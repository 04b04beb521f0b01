"""Contributions to rounds as they arrive: each is new, a repetition, or refused.

Pure functions of the settings, the ledger, the session's step and the time: no I/O, no clock. Round r is open while the
session is at step r − 1. The decisions about a push to it, the first one that fits:

    r is beyond the open round                  refused: `step_conflict`
    r is closed, and has this contribution      its answer again, or its refusal
    r is closed, and the epoch is an old one    `worker_fenced`; dropped as `fenced`
    r is closed                                 `round_closed`; dropped as `late`, unless the worker is in with another
    this contribution waits                     its answer again, whichever epoch it comes with
    the epoch is an old one                     `worker_fenced`; dropped as `fenced`
    another one of the worker waits             refused: `contribution_mismatch`
    its base is too old                         `stale`; dropped as `stale`
    it has a NaN or an infinity                 dropped as `non_finite`; its place is free for another one
    else                                        it waits

A refusal that drops a contribution changes the ledger, or the row of the closed round: save first, then raise.
"""

from collections.abc import Sequence
from dataclasses import replace

from app.errors import ContributionMismatch, QuotaExceeded, RoundClosed, ServiceError, StepConflict, WorkerFenced
from app.worker_settings import MOST_WORKERS, RoundSettings
from app.workers.decision import Decision, check_weight, fence, not_finite, stale
from app.workers.entry import Entry
from app.workers.ledger import MOST_DROPPED, Contribution, Last, Ledger
from app.workers.push import Push
from app.workers.rounds import open_round


def look(settings: RoundSettings, ledger: Ledger, step: int, number: int, push: Push, now: float) -> Decision | None:
    """Decide about a push to the open round without its gradients; `None` if they are needed.

    Raises what changes nothing: `StepConflict`, `ContributionMismatch`, `InvalidSession` for the weight.
    """
    if number > open_round(ledger, step):
        raise StepConflict(
            f"round {number} is not open yet: the session is at step {step}; contribute to round {step + 1}",
            current_step=step,
        )
    waiting = ledger.of(push.worker)
    if waiting is not None and push.is_in(waiting.entry):
        return Decision(ledger, waiting.entry, repeated=True)
    if (fenced := fence(ledger, step, push)) is not None:
        return fenced
    if waiting is not None:
        raise ContributionMismatch(
            f"round {number} has another contribution of worker {push.worker!r} (of epoch {waiting.entry.epoch}), and "
            "keeps it: wait for the round to close, and contribute to the next one",
            round=number,
            worker=push.worker,
        )
    check_weight(settings, push)
    return stale(settings, _seen(settings, ledger, number, push, now), step, push)


def take(
    settings: RoundSettings, ledger: Ledger, step: int, number: int, push: Push, now: float, *, rejects: bool
) -> Decision:
    """Decide about a push to the open round whose gradients are read; `rejects` is the session's `on_non_finite`.

    Raises as `look`, and `QuotaExceeded` if no more contributions fit into a round.
    """
    decided = look(settings, ledger, step, number, push, now)
    if decided is not None:
        return decided
    seen = _seen(settings, ledger, number, push, now)
    if push.not_finite is not None:
        return not_finite(seen, number, push, rejects=rejects)
    if len(ledger.waiting) >= MOST_WORKERS:
        words = "close it (POST …/rounds/{round}/close)"
        raise QuotaExceeded(f"round {number} has {MOST_WORKERS} contributions: {words}", limit=MOST_WORKERS)
    entry = push.entry()
    came = Contribution(entry, now, push.loss, push.pieces)
    waiting = tuple(sorted((*seen.waiting, came), key=lambda contribution: contribution.worker))
    return Decision(replace(seen, round=number, waiting=waiting), entry)


def _seen(settings: RoundSettings, ledger: Ledger, number: int, push: Push, now: float) -> Ledger:
    """Return the ledger with the worker's last contribution to round `number`, and its lease renewed."""
    began = min((contribution.at for contribution in ledger.waiting), default=now)
    last = Last(number, now, max(0.0, now - began))
    return ledger.with_last(push.worker, last, now + settings.lease_seconds)


def look_late(
    settings: RoundSettings,
    ledger: Ledger,
    step: int,
    number: int,
    push: Push,
    entries: Sequence[Entry] | None,
    now: float,
) -> Decision:
    """Decide about a push to a closed round. `entries` are those of its row; `None` if the history has none of it.

    An applied contribution has no error.
    """
    known = next((entry for entry in entries or () if push.is_in(entry) and _answers(entry, push)), None)
    if known is not None:
        error = None if known.fate == "applied" else _closed(step, number, known)
        return Decision(ledger, known, repeated=True, error=error)
    if (fenced := fence(ledger, step, push)) is not None:
        return replace(_recorded(fenced, entries), ledger=ledger)
    is_in = any(entry.worker == push.worker and entry.fate == "applied" for entry in entries or ())
    entry = push.dropped("late")
    late = Decision(_seen_late(settings, ledger, number, push, now), entry, error=_closed(step, number, entry))
    return replace(late, ledger=ledger) if is_in else _recorded(late, entries)


def _answers(entry: Entry, push: Push) -> bool:
    """Return whether the fate of the entry is that of the push: of a dropped one only if their epochs are the same."""
    return entry.fate == "applied" or entry.epoch == push.epoch


def _recorded(late: Decision, entries: Sequence[Entry] | None) -> Decision:
    """Return the decision with the entry among those of the closed round, if there is a row that has room for it."""
    dropped = sum(entry.fate == "dropped" for entry in entries or ())
    if entries is None or dropped >= MOST_DROPPED:
        return late
    return replace(late, entries=(*entries, late.entry))


def _closed(step: int, number: int, entry: Entry) -> ServiceError:
    """Return the error of a contribution to a closed round that was not applied."""
    if entry.reason == "fenced":
        return WorkerFenced(
            f"round {number} dropped this contribution: worker {entry.worker!r} had joined again", worker=entry.worker
        )
    return RoundClosed(
        f"round {number} is closed: it became step {number}, without this contribution ({entry.reason}). The session "
        f"is at step {step}: get its parameters (GET …/params), and contribute to round {step + 1}",
        round=number,
        current_step=step,
        fate=entry.fate,
        reason=entry.reason,
    )


def _seen_late(settings: RoundSettings, ledger: Ledger, number: int, push: Push, now: float) -> Ledger:
    began = ledger.began[1] if ledger.began is not None and ledger.began[0] == number else None
    last = Last(number, now, None if began is None else max(0.0, now - began))
    return ledger.with_last(push.worker, last, now + settings.lease_seconds)
