"""The turns of a session: its calls that depend on what the client knows of it are made one after the other.

Such a call begins when the one before has ended, so its number and its ETag are right. `_async_turn.py` is the same for
tasks. Calls that only read, such as a preview, the history or a download of the state, take no turn.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self

from optim_client import _fork
from optim_client.documents import SessionInfo
from optim_client.errors import APIStatusError, StepConflict, StepUnderWay

OWN_STEP = (
    "An earlier call of this session for step {number} ended without an answer, and may be the one that was applied. "
    "The same call, with the same arguments, is answered with its parameters. To go on with other gradients: "
    "session.get(), then session.params() if the session holds them, or session.undo({number}) if it was created with "
    "undo=1, or load_state() of your last checkpoint."
)
"""The note on a conflict with a step of the same session whose answer was lost."""


class Steppable(Protocol):
    """The part of a session that its turns read."""

    info: SessionInfo


class Steps:
    """The steps of one session that are under way, and the last one that ended without an answer.

    A session that holds no parameters takes one at a time: the parameters of a second one cannot be those that the
    first will answer.
    """

    def __init__(self) -> None:
        self._unanswered: int | None = None
        self.after_fork()
        _fork.follow(self)

    def after_fork(self) -> None:
        """Forget the steps that are under way: they are the parent's."""
        self._begun: list[object] = []

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        """Pickle nothing: the steps are this process's."""
        return type(self), ()

    @contextmanager
    def _only(self, info: SessionInfo) -> Iterator[None]:
        """Let one step through, or any number of them where the session holds its parameters."""
        begun, own = self._begun, object()
        try:  # an interrupt may come at any line
            begun.append(own)
            if begun[0] is not own and not info.hold_params:
                raise StepUnderWay(info.id, info.step + 1)
            yield
        finally:
            if own in begun:
                begun.remove(own)

    @contextmanager
    def _answered(self, info: SessionInfo) -> Iterator[None]:
        """Remember a step without an answer, and say so of a conflict that it may have caused."""
        number = info.step + 1
        try:
            yield
        except StepConflict as conflict:
            if conflict.current_step == number == self._unanswered:
                conflict.add_note(OWN_STEP.format(number=number))
            raise
        except (APIStatusError, TypeError, ValueError):  # refused, or not sent
            raise
        except BaseException:
            self._unanswered = number
            raise


class Turn(Steps):
    """A session's turn, for many threads: the next call waits for the end of the one before."""

    def after_fork(self) -> None:
        """Forget the calls that are under way: they are the parent's."""
        super().after_fork()
        self._turn = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait for the session's turn, and hold it."""
        with self._turn:
            yield

    @contextmanager
    def step(self, session: Steppable) -> Iterator[None]:
        """Hold the session's turn for a step. Raises `StepUnderWay`."""
        with self._only(session.info), self.call(), self._answered(session.info):
            yield
