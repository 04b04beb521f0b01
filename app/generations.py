"""Earlier generations of a session: kept by each applied step, and found again by an undo.

A generation is the session as the store had it: the pieces of its state, and as one more piece its document and the row
that the step after it has in the history. Pure functions: no I/O, no clock.
"""

from dataclasses import replace

from app.errors import StepConflict, UndoUnavailable
from app.history import marked
from app.once import Done
from app.session import Session
from app.session_document import write_document
from app.step import KeptAnswer
from app.store.base import Head, Save
from app.store.generation import Generation, ReplacedRow, Undone
from app.store.keys import UsedKey
from app.store.piece import Piece, checksum_of

LINE = b"\n"
"""The end of the document; JSON is written without it."""


def keep(save: Save, before: Session, *, skipped: bool) -> Save:
    """Return the save of a step whose head also keeps the session from before it, and drops the oldest beyond `undo`.

    A skipped step cannot be undone: its head keeps what the one before it kept.
    """
    head, previous = save.head, save.previous
    if previous is None or save.row is None or skipped:
        return replace(save, head=replace(head, earlier=previous.earlier if previous else ()))
    data = write_document(before) + LINE + save.row.body
    document = Piece(f"{head.version}-{head.token}-before", len(data), checksum_of(data))
    earlier = (Generation(head.version, document, previous.pieces), *previous.earlier)[: before.undo]
    return replace(save, head=replace(head, earlier=earlier), beside=((document, memoryview(data)),))


def newest(session: Session, head: Head, step: int) -> Generation:
    """Return the generation from before the session's last step. Raises `StepConflict` and `UndoUnavailable`."""
    if step != session.step:
        raise StepConflict(
            f"step {step} cannot be undone: the session is at step {session.step}, and only its last step can be",
            current_step=session.step,
        )
    if not head.earlier:
        words = "and what was put or edited since cannot be undone" if session.undo else "which is set at creation"
        raise UndoUnavailable(
            f"step {step} cannot be undone: no state from before it is kept (`undo` is {session.undo}, {words}); put a "
            "saved state back (PUT …/state), or go on from here",
            current_step=session.step,
        )
    return head.earlier[0]


def with_document(head: Head) -> Head:
    """Return the head with one piece, that of the newest generation's document, for `read`."""
    return head.with_pieces((head.earlier[0].document,))


def read(head: Head, data: bytes) -> tuple[Head, bytes]:
    """Return the head as it was before the last step, and the row of that step, from the bytes of that piece."""
    document, _, row = data.rpartition(LINE)
    return head.with_pieces(head.earlier[0].pieces, document), row


def undone(session: Session, head: Head, row: bytes) -> Undone:
    """Return the traces of the session's last step, whose row of the history is `row`."""
    replaced = ReplacedRow(session.step, head.earlier[0].version, marked(row))
    return Undone(replaced, _undone_key(session.applied))


def _undone_key(answer: KeptAnswer | None) -> UsedKey | None:
    """Return the key of a step that is undone, with what is known of it from then on."""
    if answer is None or answer.key is None:
        return None
    return Done(answer.body, answer.step, undone=True).used(answer.key)
