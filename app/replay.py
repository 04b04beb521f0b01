"""Exactly once: whether a step request is new, was answered already, or can never be answered.

No I/O and no clock: a session and a request in, a decision out.

    the key of the last applied or skipped step     same body → its answer again    another body → refused
    an older key                                    refused: it was applied as step n, or another body
    the number of the last applied or skipped step  same body → its answer again
    a number that is not the next one               refused: the session is at step t

A key that is known decides; the number decides where there is no key, or a new one.
"""

from dataclasses import dataclass

from app.errors import IdempotencyMismatch, StepConflict
from app.session import Answered, Session


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a step request decides: the number it wants, its idempotency key, and the digest of its body."""

    step: int | None
    key: str | None
    body: str


def answered(session: Session, asked: Asked) -> Answered | None:
    """The answer that this request got before; `None` where it is new and the session's next step.

    Raises `IdempotencyMismatch` and `StepConflict`.
    """
    kept = [past for past in (session.skipped, session.applied) if past is not None]
    for past in kept:
        if asked.key is not None and asked.key == past.key:
            if asked.body != past.body:
                raise _mismatch(asked.key, past.step)
            return past
    _refuse_older_key(session, asked)
    for past in kept:
        if asked.body == past.body and asked.step == _number(session, past):
            return past
    if asked.step is not None and asked.step != session.step + 1:
        raise StepConflict(
            f"step {asked.step} is not the next one: the session is at step {session.step}; "
            f"read the session, and send step {session.step + 1}",
            current_step=session.step,
        )
    return None


def _number(session: Session, past: Answered) -> int:
    """The number that a request gave to be what `past` answered: a skipped step has none, it asked for the next."""
    return past.step + 1 if past is session.skipped else past.step


def _refuse_older_key(session: Session, asked: Asked) -> None:
    for used in session.keys:
        if used.key == asked.key:
            if used.body != asked.body:
                raise _mismatch(used.key, used.step)
            what = "was skipped after" if used.skipped else "became"
            raise StepConflict(
                f"this request {what} step {used.step}; the session is at step {session.step} now and can no longer "
                "give its answer: read the session",
                current_step=session.step,
                **({"skipped": True} if used.skipped else {"applied_as_step": used.step}),
            )


def _mismatch(key: str, step: int) -> IdempotencyMismatch:
    return IdempotencyMismatch(f"key {key!r} was used for step {step} with another body; use a new key", step=step)
