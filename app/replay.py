"""Exactly-once semantics: a write is new, a repetition, or too old to be answered again.

Pure functions of a session, a request and what the store knows of its key: no I/O, no clock. The decisions for a step:

    the key of the last applied or skipped step     same request → its answer again    another one → refused
    an older key                                    refused: it became step n, which may be undone since, or belongs to
                                                    another request
    the number of the last applied or skipped step  same request → its answer again
    a number that is not the next one               refused: the session is at step t

A known key decides. Without a key, or with a new one, the number decides. `If-Match` is checked afterwards.
"""

from app.errors import IdempotencyMismatch, StepConflict
from app.once import Done, Once
from app.session import Session
from app.step import KeptAnswer, StepRequest


def is_repeated(session: Session, once: Once) -> bool:
    """Return whether a write, other than a step, was done before. Raises `IdempotencyMismatch`."""
    done = once.known or session.old_keys.get(once.key)
    if done is not None and done.request != once.request:
        raise mismatch(once, done)
    return done is not None


def earlier_answer(session: Session, request: StepRequest) -> KeptAnswer | None:
    """Return the earlier answer to a step request; `None` if the request is new and is the session's next step.

    Raises `IdempotencyMismatch` and `StepConflict`.
    """
    step, once = request.step, request.once
    kept = [past for past in (session.skipped, session.applied) if past is not None]
    for past in kept:
        if once.key is not None and once.key == past.key:
            if not once.is_step_of(past.body):
                raise mismatch(once, Done(past.body, past.step))
            return past
    _refuse_older_key(session, once, once.known or session.old_keys.get(once.key))
    for past in kept:
        if step == _number(session, past) and once.is_step_of(past.body):
            return past
    if step is not None and step != session.step + 1:
        raise StepConflict(
            f"step {step} is not the next one: the session is at step {session.step}; "
            f"read the session, and send step {session.step + 1}",
            current_step=session.step,
        )
    return None


def may_be_repeated(session: Session, request: StepRequest) -> bool:
    """Return whether only the digest of the body can tell that the step is new: its key or its number is known."""
    once, kept = request.once, [past for past in (session.skipped, session.applied) if past is not None]
    return (
        once.known is not None
        or once.key in session.old_keys
        or any(once.key == past.key for past in kept if past.key is not None)
        or any(request.step == _number(session, past) for past in kept)
    )


def _number(session: Session, past: KeptAnswer) -> int:
    """Return the number in the request of `past`: a skipped step keeps the session's number, but asked for the next."""
    return past.step + 1 if past is session.skipped else past.step


def _refuse_older_key(session: Session, once: Once, done: Done | None) -> None:
    if done is None:
        return
    if not once.is_step_of(done.request):
        raise mismatch(once, done)
    what = "was skipped after" if done.skipped else "became"
    since = ", which was undone since" if done.undone else ""
    raise StepConflict(
        f"this request {what} step {done.step}{since}; the session is at step {session.step} now and can no longer "
        "give its answer: read the session",
        current_step=session.step,
        **_fate(done),
    )


def _fate(done: Done) -> dict[str, object]:
    """Return the members of a conflict that tell what became of the request."""
    if done.skipped:
        return {"skipped": True}
    return {"applied_as_step": done.step, **({"undone": True} if done.undone else {})}


def mismatch(once: Once, done: Done | None) -> IdempotencyMismatch:
    """Return the error for a key that another request has used."""
    step = done and done.step
    used = "for another request" if step is None else f"for step {step} with another body"
    return IdempotencyMismatch(f"key {once.key!r} was used {used}; use a new key", step=step)
