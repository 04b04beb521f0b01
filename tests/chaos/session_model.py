"""A model of a session that is asked one thing at a time: docs/api.md as a function. Knows no HTTP and no store.

The engine and `digest_of` are the service's own and are tested elsewhere. New steps, retries and refusals are decided
here a second time, from the contract.
"""

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from app.session import digest_of
from app.store.piece import Piece, checksum_of
from optim_engine import Config, State, step

Values: TypeAlias = tuple[float, ...]
Answer: TypeAlias = tuple[Any, ...]
LR = 0.125
NOT_FOUND: Answer = (404, "session_not_found")


@dataclass(frozen=True, slots=True)
class Step:
    """A step request; `key` and `number` are optional. Steps with equal bodies are one request."""

    grads: Values
    params: Values | None
    number: int | None
    key: str | None

    @property
    def body(self) -> tuple[object, ...]:
        return self.grads, self.params, self.number


@dataclass(frozen=True, slots=True)
class Get:
    """A request for the session, or with `whole` for its state file."""

    whole: bool = False


@dataclass(frozen=True, slots=True)
class GetHistory:
    pass


@dataclass(frozen=True, slots=True)
class Patch:
    lr: float


@dataclass(frozen=True, slots=True)
class Delete:
    pass


@dataclass(frozen=True, slots=True)
class GetParams:
    pass


@dataclass(frozen=True, slots=True)
class PutParams:
    params: Values


Call: TypeAlias = Step | Get | GetHistory | Patch | Delete | GetParams | PutParams


@dataclass(frozen=True, slots=True)
class Session:
    """A state of the session. `digest` identifies settings and state; `applied` is the last step with its answer."""

    digest: str
    lr: float
    step: int = 0
    applied: tuple[Step, Answer] | None = None
    keys: tuple[tuple[Step, int], ...] = ()


Known: TypeAlias = Session | None
"""A session, or `None` after its deletion."""


class SessionModel:
    """The model of a session with one tensor. It keeps states by their digests, so that a `Session` is small."""

    def __init__(self, held: Values | None) -> None:
        """Start with those held parameters, or with a session that holds none."""
        self._holds = held is not None
        self._states: dict[str, State] = {}
        self._configs: dict[float, Config] = {}
        state = State.empty() if held is None else State.empty().with_params({"w": np.array(held, np.float32)})
        self.start = Session(self._digest(state, LR), LR)

    def apply(self, session: Known, call: Call) -> tuple[Known, Answer]:
        if session is None:
            return None, NOT_FOUND
        match call:
            case Step():
                return self._step(session, call)
            case Get():
                return session, self._seen(session)
            case GetHistory():
                return session, (200, *range(1, session.step + 1))
            case Patch(lr):
                patched = replace(session, lr=lr, digest=self._digest(self._states[session.digest], lr))
                return patched, self._seen(patched)
            case Delete():
                return None, (204,)
            case GetParams():
                return session, (200, _values(self._states[session.digest].array("w", "params")))
            case PutParams(params):
                state = self._states[session.digest].with_params({"w": np.array(params, np.float32)})
                return replace(session, digest=self._digest(state, session.lr), applied=None), (204,)

    def _seen(self, session: Session) -> Answer:
        return 200, session.step, session.lr, session.digest

    def _step(self, session: Session, call: Step) -> tuple[Session, Answer]:
        applied, answer = session.applied or (None, ())
        for used, number in session.keys:
            if call.key == used.key:
                if call.body != used.body:
                    return session, (422, "idempotency_mismatch", number)
                if used is not applied:
                    return session, (409, "step_conflict", session.step, number)
                return session, (*answer, "replayed")
        if applied and call.body == applied.body and call.number == session.step:
            return session, (*answer, "replayed")
        if call.number not in {None, session.step + 1}:
            return session, (409, "step_conflict", session.step, None)
        return self._applied(session, call)

    def _applied(self, session: Session, call: Step) -> tuple[Session, Answer]:
        old = self._states[session.digest]
        params = {} if call.params is None else {"w": np.array(call.params, np.float32)}
        outcome = step(self._config(session.lr), old, params, {"w": np.array(call.grads, np.float32)})
        digest = self._digest(outcome.state, session.lr)
        answer = (200, outcome.state.t, digest, _values(outcome.params["w"]))
        keys = session.keys if call.key is None else (*session.keys, (call, outcome.state.t))
        return Session(digest, session.lr, outcome.state.t, (call, answer), keys), answer

    def _digest(self, state: State, lr: float) -> str:
        data = state.memory.data
        pieces = [Piece("", len(data), checksum_of(data))] if len(data) else []
        digest = digest_of(self._config(lr), state.t, state.layout, state.counts, pieces)
        self._states[digest] = state
        return digest

    def _config(self, lr: float) -> Config:
        if lr not in self._configs:
            self._configs[lr] = Config.parse("adamw", hyperparameters={"lr": lr}, hold_params=self._holds)
        return self._configs[lr]


def _values(array: Any) -> Values:
    return tuple(array.tolist())
