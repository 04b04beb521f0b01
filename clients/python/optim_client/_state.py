"""A client's knowledge of its session between two calls, without I/O: both twins inherit it."""

import logging
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, SupportsFloat, TypeVar, Unpack

from numpy.typing import ArrayLike

from optim_client import _calls
from optim_client._calls import Conversation
from optim_client._gradients import Parts, parts_of, with_indices
from optim_client._halves import Loss
from optim_client._protocol import Call
from optim_client._repr import facts, line, table
from optim_client._rollback import Before
from optim_client._tensors import Arrays, ArraysLike, narrowed, widened
from optim_client._trees import Tree, flattened, rebuilt
from optim_client.documents import Metrics, Preview, SessionInfo
from optim_client.settings import StepOptions, View

CONDITIONAL = frozenset({"PUT", "PATCH", "DELETE"})
STEP = re.compile(r"^step \d+: ")
MOST_WARNINGS = 100
"""The most different warnings that are logged for one session."""

T = TypeVar("T")

log = logging.getLogger("optim_client")


class SessionKnowledge:
    """The knowledge of a session: its document, its ETag, and what the last step was answered.

    `info.step`, `info.skipped_steps` and `info.digest` follow every step; the rest of `info` is as of the last `get()`.
    `loss`, `metrics`, `skipped`, `warnings` and `params_digest` are of the last step that this client took.
    """

    def __init__(self, info: SessionInfo, etag: str | None = None, address: str = "") -> None:
        self.info = info
        self.loss: float | None = None
        self.metrics: Metrics | None = None
        self.skipped = False
        self.warnings: list[str] = []
        self.params_digest: str | None = None
        self._etag = etag
        self._address = address
        self._logged: set[str] = set()
        self._has_lost = False
        self._has_told_loss = False

    @property
    def id(self) -> str:
        """Return the session's id."""
        return self.info.id

    @property
    def digest(self) -> str:
        """Return the name of the whole state: sessions with one digest step alike."""
        return self.info.digest

    def __repr__(self) -> str:
        return line(type(self).__name__, self.id, facts(self.info, self.metrics, self.loss, self._address))

    def _repr_html_(self) -> str:
        return table(type(self).__name__, self.id, facts(self.info, self.metrics, self.loss, self._address))

    def _tied(self, call: Call[T]) -> Call[T]:
        """Return the call with an `If-Match` where it changes the session; its answer's ETag is remembered."""
        request = call.request
        if request.method in CONDITIONAL:
            call = self._conditional(call)

        def learn(answer: tuple[T, str | None]) -> T:
            result, etag = answer
            if etag is not None or request.method != "GET":
                self._etag = etag
            return result

        return _calls.tagged(call).then(learn)

    def _conditional(self, call: Call[T]) -> Call[T]:
        """Return the call with an `If-Match`, if the ETag is known."""
        if self._etag is None:
            return call
        return replace(call, request=replace(call.request, headers={**call.request.headers, "if-match": self._etag}))

    def _learned(self, info: SessionInfo) -> SessionInfo:
        """Remember the service's answer as `info`."""
        self.info, self._has_told_loss = info, False
        return info

    def _get(self) -> Conversation[SessionInfo]:
        """Read the session again. One that went back is an error the first time, and the way out of it the second."""
        before = Before(self)
        info: SessionInfo = yield self._tied(_calls.get(self.id))
        if not self._has_told_loss:
            yield from before.check_kept(info.step)
        return self._learned(info)

    def _changed(self, info: SessionInfo) -> SessionInfo:
        """Remember all but the step: the caller's parameters do not belong to another client's step.

        With another step, not the time either: the marks since the known one say how the session came there.
        """
        known = self.info
        return self._learned(
            info if info.step == known.step else replace(info, step=known.step, updated_at=known.updated_at)
        )


class SessionState(SessionKnowledge):
    """The state of a session as its client knows it, and the calls that change it."""

    def _step(
        self, params: Tree | None, grads: Tree | None, *, return_params: bool = True, **options: Unpack[StepOptions]
    ) -> Call[Any]:
        """Return the call of a step: tensors with a gradient are sent, the others stay as they were given."""
        sent, beside, whole = _sent("step", params, grads)
        if not (return_params or self.info.hold_params):
            raise ValueError("return_params=False needs a session with hold_params: the new parameters would be lost")
        number, parts = self.info.step + 1, parts_of(sent)
        narrow, others = self._narrowed(parts.floats), parts.others
        call = _calls.step(self.id, number, beside, narrow, others=others, return_params=return_params, **options)
        names, loss = list(sent) if return_params else [], options.get("loss")
        taken = self._tied(call.then(lambda answer: self._stepped(answer, names, loss)))
        if not return_params:
            return taken.then(lambda _: None)
        return taken.then(lambda after: self._rebuilt(whole, after, parts))

    def _preview(self, params: Tree | None, grads: Tree | None, **options: Unpack[StepOptions]) -> Call[Preview]:
        """Return the call of a preview, which sends what the step would."""
        sent, beside, whole = _sent("preview", params, grads)
        parts = parts_of(sent)
        number, narrow = self.info.step + 1, self._narrowed(parts.floats)
        call = _calls.preview(self.id, number, beside, narrow, parts.others, **options)

        def previewed(answer: _calls.Stepped) -> Preview:
            after = {name: answer.params[name] for name in sent}
            about = {each.name: getattr(answer, each.name) for each in fields(Preview) if each.name != "params"}
            return Preview(params=self._rebuilt(whole, after, parts), **about)

        return call.then(previewed)

    def _rebuilt(self, whole: Tree, after: Arrays, sent: Parts) -> Any:
        wide = widened(after, sent.floats) if self.info.wire_dtype else after
        return rebuilt(whole, with_indices(wide, sent.rows).get)

    def _narrowed(self, grads: ArraysLike) -> ArraysLike:
        """Return gradients in the session's `wire_dtype`. The first loss is logged, and later ones are not counted."""
        wire_dtype = self.info.wire_dtype
        if not wire_dtype:
            return grads
        lost = None if self._has_lost else dict[str, Loss]()
        sent = narrowed(grads, wire_dtype, lost)
        if lost:
            self._has_lost = True
            name, loss = next(iter(lost.items()))
            log.warning("session %s: of grads[%r], %s on the way in %s", self.id, name, loss, wire_dtype)
        return sent

    def _stepped(self, answer: _calls.Stepped, names: list[str], loss: SupportsFloat | None) -> Arrays:
        """Remember the answer to a step; return its parameters of these names."""
        params = {name: answer.params[name] for name in names}
        newly_skipped = answer.skipped and not (answer.replayed and self.skipped)
        self.loss = None if loss is None else float(loss)
        self.metrics, self.skipped = answer.metrics, answer.skipped
        self.warnings, self.params_digest = answer.warnings, answer.params_digest
        self.info = replace(
            self.info,
            step=answer.step,
            skipped_steps=self.info.skipped_steps + newly_skipped,
            digest=answer.digest,
        )
        self._log(answer.warnings)
        return params

    def _put_params(self, params: Tree) -> Call[None]:
        given = {name: value for name, value in flattened("params", params).items() if value is not None}
        return self._tied(_calls.put_params(self.id, given))

    def _undo(self, step: int | None) -> Call[SessionInfo]:
        """Return the call of an undo. It has an `If-Match`, because a late first try may find another such step."""
        call = _calls.undo(self.id, self.info.step if step is None else step)
        return self._tied(self._conditional(call))

    def _params(self, like: Tree | None, view: View | None) -> Call[Any]:
        held = _calls.params(self.id, view)  # its ETag is of these, and not of what the client knows of the session
        return held if like is None else held.then(lambda params: rebuilt(like, params.get))

    def _rows(self, rows: Mapping[str, ArrayLike]) -> Call[Arrays]:
        return _calls.rows(self.id, rows)  # it changes nothing, and its answer has no ETag

    def _log(self, warnings: list[str]) -> None:
        """Log each different warning once, without its step's number."""
        for warning in warnings:
            text = STEP.sub("", warning)
            if text not in self._logged and len(self._logged) < MOST_WARNINGS:
                self._logged.add(text)
                log.warning("session %s, step %d: %s", self.id, self.info.step, text)


def _sent(verb: str, params: Tree | None, grads: Tree | None) -> tuple[ArraysLike, ArraysLike | None, Tree]:
    """Return the gradients to send, their parameters, and the tree that gives the answer its structure."""
    if grads is None:
        raise TypeError(
            f"{verb}() needs grads: {verb}(params, grads), or {verb}(grads=…) where the session holds params"
        )
    given = {} if params is None else flattened("params", params)
    sent = {name: grad for name, grad in flattened("grads", grads).items() if grad is not None}
    if not sent:
        raise ValueError(f"{verb}() has no gradient: grads is empty, or holds nothing but None")
    beside = None if params is None else {name: given[name] for name in sent if given.get(name) is not None}
    return sent, beside, grads if params is None or not sent.keys() <= given.keys() else params
