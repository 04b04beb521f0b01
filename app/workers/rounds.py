"""Rounds: where the open one stands, when it is due, and what its close makes of the ledger. See `arrivals` for pushes.

Pure functions of the settings, the ledger and the session's step: no I/O, no clock. Round r is open while the session
is at step r − 1; closed, it is step r. Which contributions are applied depends on who is in, not on the order in which
they came. Two that close the same ledger get the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal, NamedTuple

from app.errors import NonFinite, NoQuorum, RoundOpen, StateDamaged, WorkersOnly
from app.worker_settings import RoundSettings
from app.workers.entry import Entry
from app.workers.ledger import Contribution, Ledger
from optim_engine.aggregate import added, clipped

OUTLIER = 10
"""A norm is an outlier if it is over so many times the round's median, of `OUTLIER_FROM` contributions or more."""
OUTLIER_FROM = 3

Cause = Literal["expected", "grace", "deadline"]
"""Why a round is closed, if nobody asks for it."""


class Due(NamedTuple):
    """The time at which a round is to be closed, and the cause."""

    at: float
    cause: Cause


@dataclass(frozen=True, slots=True)
class Progress:
    """The open round, as answers have it. `closes_at` is `None` as long as there is no quorum."""

    round: int
    have: int
    need: int
    closes_at: float | None


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed round: what is applied, in the order of the workers' names; the fates of all; the ledger afterwards."""

    round: int
    applied: tuple[Contribution, ...]
    entries: tuple[Entry, ...]
    loss: float | None
    warnings: tuple[str, ...]
    ledger: Ledger


def progress(settings: RoundSettings, ledger: Ledger, step: int) -> Progress:
    """Return where the open round stands. Raises `StateDamaged`."""
    number, have = open_round(ledger, step), len(ledger.waiting)
    return Progress(number, have, max(0, settings.quorum - have), closes_at(settings, ledger))


def open_round(ledger: Ledger, step: int) -> int:
    """Return the number of the open round. Raises `StateDamaged` if contributions of another one wait."""
    if ledger.waiting and ledger.round != step + 1:
        raise StateDamaged(
            f"the contributions of round {ledger.round} wait, and the session is at step {step}: restore the store "
            "from a backup"
        )
    return step + 1


def closes_at(settings: RoundSettings, ledger: Ledger) -> float | None:
    """Return the time at which the open round is to be closed; `None` without a quorum."""
    due = due_of(settings, ledger)
    return due and due.at


def due_of(settings: RoundSettings, ledger: Ledger) -> Due | None:
    """Return when the open round is to be closed, and why; `None` without a quorum.

    That is when all expected workers are in; else the grace after the quorum, but not after the deadline, unless the
    quorum comes later.
    """
    times = sorted(contribution.at for contribution in ledger.waiting)
    if len(times) < settings.quorum:
        return None
    if _arrived(ledger) >= settings.expected:
        return Due(times[-1], "expected")
    quorum_at = times[settings.quorum - 1]
    grace = Due(quorum_at + settings.grace_seconds, "grace")
    return min(grace, Due(max(quorum_at, times[0] + settings.deadline_seconds), "deadline"), key=lambda due: due.at)


def is_due(settings: RoundSettings, ledger: Ledger, now: float) -> bool:
    """Return whether the open round is to be closed: at once when all are in, also if the clock was set back since."""
    due = due_of(settings, ledger)
    return due is not None and (due.cause == "expected" or due.at <= now)


def _arrived(ledger: Ledger) -> int:
    """Return how many workers have contributed to the open round, also those whose numbers are not finite."""
    spoiled = {
        drop.entry.worker for drop in ledger.dropped if drop.round == ledger.round and drop.entry.reason == "non_finite"
    }
    return len(spoiled | {contribution.worker for contribution in ledger.waiting})


def close(settings: RoundSettings, ledger: Ledger, step: int) -> Closed:
    """Close the open round with those who are in. Raises `NoQuorum`."""
    number, waiting = open_round(ledger, step), ledger.waiting
    if len(waiting) < settings.quorum:
        raise NoQuorum(
            f"round {number} has {len(waiting)} of the {settings.quorum} contributions that its quorum needs: wait for "
            "more; for a worker that is gone, another program may join and contribute",
            round=number,
            have=len(waiting),
            need=settings.quorum - len(waiting),
        )
    applied = [replace(contribution, entry=_applied(settings, contribution.entry)) for contribution in waiting]
    entries = (*(contribution.entry for contribution in applied), *(drop.entry for drop in ledger.dropped))
    began = (number, min(contribution.at for contribution in waiting))
    after = replace(ledger, round=None, waiting=(), dropped=(), began=began)
    return Closed(number, tuple(applied), entries, _loss(applied), tuple(_outliers(settings, applied)), after)


def spoiled(ledger: Ledger, step: int) -> Ledger:
    """Return the ledger of an open round whose contributions are finite, but not their aggregate: all are dropped."""
    number, after = open_round(ledger, step), replace(ledger, round=None, waiting=())
    for contribution in ledger.waiting:
        after = after.with_dropped(number, replace(contribution.entry, fate="dropped", reason="non_finite"))
    return after


def aggregate_not_finite(number: int) -> NonFinite:
    """Return the error of a round whose contributions are finite, but not their aggregate."""
    words = "is not finite, although each of them is, so all are dropped: send smaller gradients or weights"
    return NonFinite(f"the aggregate of the contributions to round {number} {words}", round=number)


def _applied(settings: RoundSettings, entry: Entry) -> Entry:
    norm, bound = entry.norm, settings.max_norm
    scale = None if norm is None or bound is None else clipped(norm, bound)
    return replace(entry, fate="applied", clip_scale=scale)


def _loss(applied: Sequence[Contribution]) -> float | None:
    """Return the mean of the losses, by the weights of those who gave one."""
    known = [(each.entry.weight, each.loss) for each in applied if each.loss is not None]
    if not known:
        return None
    return added([weight * loss for weight, loss in known]) / added([weight for weight, _ in known])


def _outliers(settings: RoundSettings, applied: Sequence[Contribution]) -> list[str]:
    """Return a warning for each contribution whose norm is far over that of the others."""
    norms = {entry.worker: entry.norm for entry in (each.entry for each in applied) if entry.norm is not None}
    if len(norms) < OUTLIER_FROM:
        return []
    middle = median(norms.values())
    is_bounded = settings.aggregate in {"clipped_mean", "median", "trimmed_mean"}
    advice = "" if is_bounded else "; `aggregate` clipped_mean, median or trimmed_mean bounds what one worker does"
    return [  # without numbers, because a lasting problem is told in the same words at each step
        f"worker {worker!r}: the norm of its gradients is over {OUTLIER} times the median of the round, whose norms "
        f"`GET …/rounds/{{round}}` has{advice}"
        for worker, norm in norms.items()
        if norm > OUTLIER * middle
    ]


def check_settled(ledger: Ledger, what: str) -> None:
    """Raise `RoundOpen` if contributions wait; `what` says what was refused."""
    if ledger.waiting:
        raise RoundOpen(
            f"{what}: contributions wait in round {ledger.round} ({len(ledger.waiting)} so far); wait for it to close, "
            "or close it (POST …/rounds/{round}/close)",
            round=ledger.round,
        )


def workers_only(what: str) -> WorkersOnly:
    """Return the error of a write that is not for a session with workers."""
    return WorkersOnly(
        f"{what}: the session is for workers; contribute (PUT …/rounds/{{round}}/contributions/{{worker}}, in the "
        "asynchronous mode PUT …/contributions/{worker}/{seq}), or PATCH `workers` to null first"
    )
