"""The decision about a push, and the refusals that rounds and the asynchronous mode share.

Pure functions: no I/O, no clock. A refusal that drops a contribution changes the ledger, or the row of a closed round:
save first, then raise it.
"""

from dataclasses import dataclass

from app.errors import InvalidSession, NonFinite, ServiceError, Stale, StepConflict, WorkerFenced
from app.worker_settings import RoundSettings, WorkerSettings, check_name
from app.workers.entry import Entry
from app.workers.ledger import Ledger
from app.workers.push import Push
from app.workers.roster import check_epoch


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about a push: what is to be saved, and then the answer, or the error to raise.

    `entry` is the record of the contribution. `ledger` is the given one if it stays. `entries` are those of the closed
    round, if its row of the history changes.
    """

    ledger: Ledger
    entry: Entry
    repeated: bool = False
    error: ServiceError | None = None
    entries: tuple[Entry, ...] | None = None


def check_weight(settings: WorkerSettings, push: Push) -> None:
    """Raise `InvalidSession` if the push has a weight that its session does not take."""
    if push.weight == 1 or (isinstance(settings, RoundSettings) and settings.aggregation.takes_weights):
        return
    where = f"`aggregate` {settings.aggregate}" if isinstance(settings, RoundSettings) else "the asynchronous mode"
    raise InvalidSession(f"weight: {where} takes weight 1 alone, not {push.weight:g}", where="weight")


def fence(ledger: Ledger, step: int, push: Push) -> Decision | None:
    """Return the refusal of a push whose epoch is not its worker's present one, `None` if it is.

    Raises `InvalidSession` for a name that no worker can have.
    """
    try:
        check_epoch(ledger, check_name(push.worker), push.epoch)
    except WorkerFenced as error:
        entry = push.dropped("fenced")
        return Decision(ledger.with_dropped(step + 1, entry), entry, error=error)
    return None


def stale(settings: WorkerSettings, ledger: Ledger, step: int, push: Push) -> Decision | None:
    """Return the refusal of a push that was computed from too old parameters, `None` if they are not.

    Raises `StepConflict` for a base beyond the session's step.
    """
    base = step if push.base_step is None else push.base_step
    if base > step:
        raise StepConflict(f"base_step {base} is beyond the session, which is at step {step}", current_step=step)
    staleness = step - base
    if staleness <= settings.max_staleness:
        return None
    error = Stale(
        f"the gradients are of parameters of step {base}, {staleness} steps ago, and `max_staleness` is "
        f"{settings.max_staleness}: get the parameters (GET …/params), and compute them anew",
        current_step=step,
        staleness=staleness,
    )
    entry = push.entry(fate="dropped", reason="stale", staleness=staleness)
    return Decision(ledger.with_dropped(step + 1, entry), entry, error=error)


def not_finite(ledger: Ledger, number: int, push: Push, *, rejects: bool) -> Decision:
    """Return the decision about a push with a NaN or an infinity: it is dropped at once, with an error if `rejects`."""
    entry = push.dropped("non_finite")
    error = None
    if rejects and push.not_finite is not None:
        at = push.not_finite
        words = f"the contribution of worker {push.worker!r} is dropped; its place is free until round {number} closes"
        cause = f"the gradient of tensor {at.tensor!r} is not finite at {list(at.index)}"
        error = NonFinite(f"{cause}: {words}", tensor=at.tensor, index=at.index, round=number)
    return Decision(ledger.with_dropped(number, entry), entry, error=error)
