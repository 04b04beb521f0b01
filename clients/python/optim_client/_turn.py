"""The turns of a session: its calls that depend on what the client knows of it are made one after the other.

Such a call begins when the one before has ended, so its number and its ETag are right. `_async_turn.py` is the same for
tasks. Calls that only read, such as a preview, the history or a download of the state, take no turn.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self, SupportsIndex

from optim_client import _fork
from optim_client.documents import SessionInfo
from optim_client.errors import StepConflict
from optim_client.session_errors import StepUnderWay

TAKEN = (
    "Step {number} was taken before: by a call whose answer was lost, also one of this program before it crashed, or "
    "by another client. The same call, with the same arguments and step={number}, is answered with its parameters. To "
    "go on with other gradients: session.get(), then session.params() if the session holds them, or "
    "session.undo({number}) if it was created with undo=1, or load_state() of your last checkpoint."
)
"""The note on a conflict with the session's last step."""


class Steppable(Protocol):
    """The part of a session that its turns read."""

    info: SessionInfo


class Steps:
    """The steps of one session that are under way.

    A session that holds no parameters takes one at a time: the parameters of a second one cannot be those that the
    first will answer.
    """

    def __init__(self) -> None:
        self.after_fork()
        _fork.follow(self)

    def after_fork(self) -> None:
        """Forget the steps that are under way: they are the parent's."""
        self._begun: list[object] = []

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        """Pickle nothing: the steps are this process's."""
        return type(self), ()

    def _begin(self, own: object, info: SessionInfo) -> None:
        """Let a step through: the only one, unless the session holds its parameters. Raises `StepUnderWay`."""
        self._begun.append(own)
        if self._begun[0] is not own and not info.hold_params:
            raise StepUnderWay(info.id, info.step + 1)


def explain(conflict: StepConflict, number: SupportsIndex) -> None:
    """Add the ways out to a conflict with a step of the same number."""
    if conflict.current_step == number:
        conflict.add_note(TAKEN.format(number=number))


class Turn(Steps):
    """A session's turn, for many threads: the next call waits for the end of the one before."""

    def after_fork(self) -> None:
        """Forget the calls that are under way: they are the parent's."""
        super().after_fork()
        self._turn = threading.RLock()  # a signal's handler may read the session in the middle of a call

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait for the session's turn, and hold it."""
        with self._turn:
            yield

    @contextmanager
    def step(self, session: Steppable, number: SupportsIndex | None = None) -> Iterator[None]:
        """Hold the session's turn for the step of that number, else for its next one. Raises `StepUnderWay`."""
        own = object()
        try:  # an interrupt may come at any line
            self._begin(own, session.info)
            with self._turn:
                yield
        except StepConflict as conflict:
            explain(conflict, number or session.info.step + 1)
            raise
        finally:  # no call of a function comes before the end: an interrupt would prevent it
            if own in self._begun:
                self._begun.remove(own)
