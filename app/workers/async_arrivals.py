"""The asynchronous mode: each contribution is a step of its own, numbered by its worker.

Pure functions of the settings, the ledger, the session's step and the time: no I/O, no clock. The decisions about a
push with number `seq`, the first one that fits:

    `seq` is the worker's last, and so is the contribution      its answer again, whichever epoch it comes with
    the epoch is an old one                                     `worker_fenced`; dropped as `fenced`
    `seq` is lower than the last                                refused: `step_conflict`, with `applied_as_step`
    `seq` is the last, of another contribution                  refused: `contribution_mismatch`
    its base is too old                                         `stale`; dropped as `stale`
    else                                                        it is the next step

A refusal that drops a contribution changes the ledger: save first, then raise.
"""

from dataclasses import dataclass, replace
from math import sqrt

from app.errors import ContributionMismatch, StepConflict
from app.worker_settings import AsyncSettings
from app.workers.decision import Decision, check_weight, fence, not_finite, stale
from app.workers.entry import Entry
from app.workers.ledger import Last, Ledger, Turn
from app.workers.push import Push


@dataclass(frozen=True, slots=True)
class Application:
    """A contribution that becomes the next step: the ledger afterwards, and the entries of the step's row.

    The step's learning rates are divided by `lr_divisor`.
    """

    ledger: Ledger
    entries: tuple[Entry, ...]
    staleness: int
    lr_divisor: float = 1.0


def look(
    settings: AsyncSettings, ledger: Ledger, step: int, push: Push, applied_as: int | None = None
) -> Decision | None:
    """Decide about a push before it is a step; `None` if it is the next one.

    `applied_as` is the step that its `seq` became, if that is known. Of a repeated one, the worker's `turn` has the
    step. Raises what changes nothing: `StepConflict`, `ContributionMismatch`, `InvalidSession` for the weight.
    """
    worker = ledger.workers.get(push.worker)
    turn = worker.turn if worker else None
    if turn is not None and (push.seq, push.digest) == (turn.seq, turn.digest):
        return Decision(ledger, push.entry(fate="applied"), repeated=True)
    if (fenced := fence(ledger, step, push)) is not None:
        return fenced
    if turn is not None:
        _check_seq(push.worker, push.seq or 0, turn, step, applied_as)
    check_weight(settings, push)
    return stale(settings, ledger, step, push)


def apply(settings: AsyncSettings, ledger: Ledger, step: int, push: Push, now: float) -> Application:
    """Return what the push makes of the ledger and of the step's row, once `look` has said that it is the next step."""
    staleness = 0 if push.base_step is None else step - push.base_step
    entry = push.entry(fate="applied", staleness=staleness)
    last, turn = Last(step + 1, now), Turn(push.seq or 0, push.digest, step + 1)
    after = replace(ledger.with_last(push.worker, last, now + settings.lease_seconds, turn), dropped=())
    entries = (entry, *(drop.entry for drop in ledger.dropped))
    return Application(after, entries, staleness, sqrt(1 + staleness) if settings.staleness == "scale" else 1.0)


def refuse_not_finite(ledger: Ledger, step: int, push: Push) -> Decision:
    """Return the refusal of a push with a NaN or an infinity, in a session that rejects them. Its `seq` stays free."""
    return not_finite(ledger, step + 1, push, rejects=True)


def _check_seq(worker: str, seq: int, turn: Turn, step: int, applied_as: int | None) -> None:
    """Raise `StepConflict` for a lower number than the worker's last, and `ContributionMismatch` for the last one."""
    if seq < turn.seq:
        raise StepConflict(
            f"contribution {seq} of worker {worker!r} is an older one: its last is {turn.seq}; the session is at step "
            f"{step}",
            current_step=step,
            applied_as_step=applied_as,
        )
    if seq == turn.seq:
        raise ContributionMismatch(
            f"contribution {seq} of worker {worker!r} became step {turn.step} with other bytes: number the next one "
            f"{seq + 1}",
            worker=worker,
        )
