"""A session that went back: its client notices at the next call. Knows no socket.

After a failover to a replica that was behind, or with an older backup, a store is whole, but as it once was. Only a
client knows that it was answered a later step.

Rule 1: a session that is behind the step that its client knows has lost steps, unless somebody rewound it.
Rule 2: who rewinds a session leaves a mark: an undo names the step, a loaded state the steps before and after it.
Rule 3: marks from before the client last read the session say nothing of the steps since.
Rule 4: marks are read only when a session is behind, so other calls cost nothing more.
Rule 5: an answer is compared with what was known when its call began: other threads may step meanwhile.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from optim_client import _calls
from optim_client._calls import Conversation
from optim_client._event import Mark
from optim_client._protocol import Call
from optim_client.documents import SessionInfo
from optim_client.errors import Conflict, MalformedQuery, PreconditionFailed
from optim_client.session_errors import StateLost

T = TypeVar("T")


class Known(Protocol):
    """The part of a session's state that tells whether it went back."""

    info: SessionInfo
    _has_told_loss: bool


def noticing(state: Known, call: Call[T], step: int | None = None) -> Conversation[T]:
    """Make a call, and raise `StateLost` where it is refused because the session is behind `step`.

    Without `step`, it is the one that the client knows.
    """
    before = Before(state, step)
    try:
        answer: T = yield call
    except (Conflict, PreconditionFailed) as refusal:
        current = refusal.current_step if isinstance(refusal, Conflict) else (yield _calls.get(state.info.id)).step
        yield from before.check_kept(current)
        raise
    return answer


class Before:
    """The knowledge of a session before a call: its step, or `step`, and the time of its last change."""

    def __init__(self, state: Known, step: int | None = None) -> None:
        self._state = state
        self._info = state.info
        self._step = state.info.step if step is None else step

    def check_kept(self, current: int | None) -> Conversation[None]:
        """Raise `StateLost` if the session, which was then at the step `current`, has lost steps."""
        if current is None or current >= self._step:
            return
        try:
            marks = yield _calls.marks(self._info.id)
        except MalformedQuery:  # an older service has none
            return
        if not was_rewound(marks, self._info, self._step):
            self._state._has_told_loss = True
            raise StateLost(self._info.id, self._step, current)


def was_rewound(marks: Iterable[Mark], info: SessionInfo, step: int) -> bool:
    """Return whether a mark leads from that step, or a later one, to an earlier one, since `info` was read."""
    return any(_rewinds(mark, step) for mark in marks if mark.time > info.updated_at)


def _rewinds(mark: Mark, step: int) -> bool:
    before, after = mark.changed.get("step", (0, 0))
    return mark.undone == step or after < step <= before
