"""A model of a session that is asked one thing at a time: docs/api.md as a function. Knows no HTTP and no store.

The engine and `digest_of` are the service's own and are tested elsewhere. New steps, retries and refusals are decided
here a second time, from the contract.
"""

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from app.digest import digest_of
from app.store.piece import Piece, checksum_of
from optim_engine import Config, State, step

Values: TypeAlias = tuple[float, ...]
Answer: TypeAlias = tuple[Any, ...]
LR = 0.125
UNDO = 2
"""The number of steps that a session can undo."""
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


@dataclass(frozen=True, slots=True)
class Undo:
    """A request to undo the step of that number."""

    number: int
    key: str


Call: TypeAlias = Undo | Step | Get | GetHistory | Patch | Delete | GetParams | PutParams


@dataclass(frozen=True, slots=True)
class Session:
    """A state of the session. `digest` identifies settings and state; `applied` is the last step with its answer.

    `earlier` are the sessions that it can go back to, the newest first; `undos` are the undo requests with keys.
    """

    digest: str
    lr: float
    step: int = 0
    applied: tuple[Step, Answer] | None = None
    keys: tuple[tuple[Step, int], ...] = ()
    earlier: tuple["Session", ...] = ()
    rows: tuple[int, ...] = ()
    undone: frozenset[Step] = frozenset()
    undos: frozenset[Undo] = frozenset()


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
                return session, (200, *sorted(session.rows))
            case Patch(lr):
                patched = replace(session, lr=lr, digest=self._digest(self._states[session.digest], lr))
                return patched, self._seen(patched)
            case Delete():
                return None, (204,)
            case GetParams():
                return session, (200, _values(self._states[session.digest].array("w", "params")))
            case PutParams(params):
                state = self._states[session.digest].with_params({"w": np.array(params, np.float32)})
                digest = self._digest(state, session.lr)
                return replace(session, digest=digest, applied=None, earlier=()), (204,)
            case Undo():
                return self._undo(session, call)

    def _seen(self, session: Session) -> Answer:
        return 200, session.step, session.lr, session.digest

    def _step(self, session: Session, call: Step) -> tuple[Session, Answer]:
        applied, answer = session.applied or (None, ())
        for used, number in session.keys:
            if call.key == used.key:
                if call.body != used.body:
                    return session, (422, "idempotency_mismatch", number)
                if used is not applied:
                    return session, (409, "step_conflict", session.step, number, used in session.undone or None)
                return session, (*answer, "replayed")
        if applied and call.body == applied.body and call.number == session.step:
            return session, (*answer, "replayed")
        if call.number not in {None, session.step + 1}:
            return session, (409, "step_conflict", session.step, None, None)
        return self._applied(session, call)

    def _applied(self, session: Session, call: Step) -> tuple[Session, Answer]:
        old = self._states[session.digest]
        params = {} if call.params is None else {"w": np.array(call.params, np.float32)}
        outcome = step(self._config(session.lr), old, params, {"w": np.array(call.grads, np.float32)})
        digest = self._digest(outcome.state, session.lr)
        answer = (200, outcome.state.t, digest, _values(outcome.params["w"]))
        keys = session.keys if call.key is None else (*session.keys, (call, outcome.state.t))
        after = replace(session, digest=digest, step=outcome.state.t, applied=(call, answer), keys=keys)
        earlier = (replace(session, earlier=(), keys=(), rows=()), *session.earlier)[:UNDO]
        return replace(after, earlier=earlier, rows=(*session.rows, outcome.state.t)), answer

    def _undo(self, session: Session, call: Undo) -> tuple[Session, Answer]:
        for known in session.undos:
            if call.key == known.key:
                again = call.number == known.number
                return session, (*self._seen(session), "replayed") if again else (422, "idempotency_mismatch", None)
        if call.number != session.step:
            return session, (409, "step_conflict", session.step, None, None)
        if not session.earlier or session.applied is None:
            return session, (409, "undo_unavailable")
        before = session.earlier[0]
        after = replace(
            session,
            digest=self._digest(self._states[before.digest], session.lr),
            step=before.step,
            applied=before.applied,
            earlier=session.earlier[1:],
            undone=session.undone | {session.applied[0]},
            undos=session.undos | {call},
        )
        return after, self._seen(after)

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
