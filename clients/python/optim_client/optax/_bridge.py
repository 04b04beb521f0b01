"""The steps that a gradient transformation takes: from NumPy arrays to updates, outside of JAX's world."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optim_client._sessions import Session
from optim_client._tensors import Arrays
from optim_client.errors import StepConflict
from optim_client.optax._rounding import Rest, bits, update_to
from optim_client.settings import StepOptions

log = logging.getLogger("optim_client")

HINT = (
    "the count of optax's state is {count}, so this is step {step}. If the state is an old one, go on from the newest; "
    "optax.MultiSteps takes a step for each of its mini steps: use optim_client.optax.multi_steps"
)


@dataclass(frozen=True)
class KeptAnswer:
    """The parameters of an answer, as far as they are needed later: the elements that the sums miss.

    `answers` has the whole parameters, if the session holds them.
    """

    rests: dict[str, Rest]
    answers: Arrays

    def restored(self, params: Arrays) -> Arrays:
        """Return the parameters as they were answered, where they are what the updates led to."""
        return {name: self.rests[name].restored(p) if name in self.rests else p for name, p in params.items()}

    def changed(self, params: Arrays) -> list[str]:
        """Return the names of those that are not as they were answered."""
        known = [name for name in params if name in self.answers]
        return [name for name in known if not np.array_equal(bits(params[name]), bits(self.answers[name]))]


class Bridge:
    """One session's steps. The step's number is the state's count, so the same call again is the same step."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = Lock()
        self._kept: dict[int, KeptAnswer] = {}
        self._holds: bool | None = None
        self._warned = False

    def step(
        self, names: Sequence[str], count: Any, lr: Any, loss: Any, grads: Sequence[Any], params: Sequence[Any]
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Take the step after `count`; return the new count, and the update of each parameter."""
        given = dict(zip(names, map(np.asarray, params), strict=True))
        sent = dict(zip(names, map(np.asarray, grads), strict=True))
        options = StepOptions(step=int(count) + 1, lr=_number(lr), loss=_number(loss))
        with self._lock:
            answered = self._answered(int(count), given, sent, options)
            reached = {name: update_to(given[name], answered[name]) for name in names}
            step, holds = self._session.info.step, self._session.info.hold_params
            rests = {name: rest for name, (_, rest) in reached.items() if rest.at.size}
            before = {number: kept for number, kept in self._kept.items() if number == int(count)}
            self._kept = {**before, step: KeptAnswer(rests, answered if holds else {})}
        return np.asarray(step, np.int32), [update for update, _ in reached.values()]

    def _answered(self, count: int, given: Arrays, grads: Arrays, options: StepOptions) -> Arrays:
        """Return the new parameters."""
        session, kept = self._session, self._kept.get(count, KeptAnswer({}, {}))
        exact = kept.restored(given)
        is_held = session.info.hold_params and self._are_held()
        if is_held and (changed := kept.changed(exact)):
            self._say_changed(changed)
        try:
            answered = session.step(None if is_held else exact, grads, **options)
        except StepConflict as conflict:
            conflict.add_note(HINT.format(count=count, step=count + 1))
            raise
        self._holds = session.info.hold_params
        return answered

    def _are_held(self) -> bool:
        """Return whether the session has its parameters: else they go with the first step, also if it is repeated."""
        if self._holds is None:
            self._holds = bool(self._session.get().tensors)
        return self._holds

    def _say_changed(self, names: list[str]) -> None:
        """Log, or raise if the session rejects them, that parameters are not those that the session holds."""
        policy = self._session.info.on_other_params
        text = (
            f"the parameters {', '.join(map(repr, names[:3]))} were changed since the last update, but the session "
            "goes on from those that it holds. Put them with session.put_params(params), or use a session without "
            "hold_params"
        )
        if policy == "reject":
            raise ValueError(text)
        if policy == "warn" and not self._warned:
            self._warned = True
            log.warning("session %s: %s", self._session.id, text)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
