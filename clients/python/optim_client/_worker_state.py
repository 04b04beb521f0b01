"""A worker's knowledge between two calls, and its decisions, without I/O: both twins inherit it.

A conversation yields calls, is sent the result of each or has its error thrown in, and returns the verb's result.

Rule 1: a contribution is sent until it has a fate. Its place names it, so every try has the same bytes.
Rule 2: a contribution that was dropped raises nothing: the newest parameters are the answer, and `contribution` and the
log say why it was dropped. What the caller must decide is raised: another process has the name, or a number is not
finite.
Rule 3: gradients are never said to be of newer parameters than they are of.
"""

import logging
import os
from dataclasses import replace
from typing import Any, SupportsFloat, Unpack

import numpy as np

from optim_client import _arguments, _worker_calls
from optim_client._calls import Conversation
from optim_client._gradients import Parts, parts_of
from optim_client._protocol import Call
from optim_client._rollback import Before, noticing
from optim_client._state import SessionState
from optim_client._tensors import Arrays, widened
from optim_client._trees import Tree, flattened, rebuilt
from optim_client._worker_calls import Applied, Beside, ContributionOptions
from optim_client.documents import Contribution, RoundInfo
from optim_client.errors import (
    APIStatusError,
    ContributionMismatch,
    NonFinite,
    RoundClosed,
    Stale,
    StepConflict,
    WorkerFenced,
)

Fate = tuple[Contribution, Applied | None]

WAIT_SECONDS = 25
"""Seconds for which the service holds an answer back until the round is a step."""
LEASE_SECONDS, DEADLINE_SECONDS = 30.0, 60.0
"""The lease and the deadline of a round, where the session's settings do not say them."""
MOST_DOWNLOADS = 3
"""Downloads in a row, where a round closes during each: the step before the last one is then said to be theirs."""
NOT_MODIFIED = 304
EPOCH_BITS = 26
"""In the asynchronous mode a number has the epoch before these bits, so that it is higher than all before the join."""
REASONS = {RoundClosed: "late", Stale: "stale", NonFinite: "non_finite", WorkerFenced: "fenced"}
"""The reasons for which a contribution is dropped, by the refusal."""
KEPT = "mismatch"
"""The reason of this client's own: another contribution of the worker, from before a crash, was in the round."""

log = logging.getLogger("optim_client")


class WorkerPlace:
    """A worker's place in its session: its epoch, its lease, and the parameters that it has.

    `step` is the step of the parameters, and `contribution` its last contribution, with its fate.
    """

    def __init__(self, session: SessionState, name: str, read_timeout: float | None) -> None:
        self.name = _worker_calls.checked_name(name)
        self._epoch: int | None = None
        self._process = os.getpid()
        self.step = session.info.step
        self.contribution: Contribution | None = None
        self._state = session
        self._wait = WAIT_SECONDS if read_timeout is None else max(1, min(WAIT_SECONDS, int(read_timeout / 2)))
        self._sent = 0
        self._held: Arrays = {}
        self._etag: str | None = None

    @property
    def epoch(self) -> int | None:
        """Return the number of its join; `None` before it, after it has left, and in a forked process."""
        return self._epoch if self._process == os.getpid() else None

    @property
    def round(self) -> int:
        """Return the number of its next contribution: its round, or in the asynchronous mode one that rises."""
        if self._is_async:
            return ((self.epoch or 0) << EPOCH_BITS) + self._sent + 1
        return self.step + 1

    @property
    def lease_seconds(self) -> float:
        """Return the length of its lease."""
        return float(self._setting("lease_seconds", LEASE_SECONDS))

    def __reduce__(self) -> str:
        raise TypeError(f"worker {self.name!r} cannot be copied: give its session's id, and join there by another name")

    def __repr__(self) -> str:
        epoch = "not joined" if self.epoch is None else f"epoch {self.epoch}"
        return f"<{type(self).__name__} {self.name} of {self._state.id}, {epoch}, at step {self.step}>"

    @property
    def _known_step(self) -> int:
        return max(self.step, self._state.info.step)

    @property
    def _is_async(self) -> bool:
        return bool(self._setting("mode", "rounds") == "async")

    def _setting(self, name: str, default: Any) -> Any:
        return (self._state.info.workers or {}).get(name, default)

    def _present(self) -> int:
        """Return the epoch. Raises `RuntimeError`."""
        epoch = self.epoch
        if epoch is None:
            raise RuntimeError(
                f"worker {self.name!r} has not joined in this process, or has left: `with session.worker(…):` "
                "joins and leaves, as join() and leave() do"
            )
        return epoch

    def _join(self) -> Conversation[None]:
        """Read the session's settings, and join."""
        yield from self._state._get()
        joined = yield _worker_calls.join(self._state.id, self.name)
        self._epoch, self._process = joined.epoch, os.getpid()
        self.step, self._sent, self._etag = joined.step, 0, None

    def _params(self, like: Tree | None) -> Conversation[Any]:
        held = yield from self._newest()
        return dict(held) if like is None else rebuilt(like, held.get)

    def _newest(self) -> Conversation[Arrays]:
        """Return the held parameters, downloaded if they have changed, and learn their step.

        The step is told before and after the download: another one in between would be a wrong number for these.
        """
        renew = _worker_calls.renew(self._state.id, self.name, self._present())
        known = Before(self._state, self._known_step)
        before = (yield renew).step
        yield from known.check_kept(before)
        downloads = 0
        while (found := (yield from self._changed())) is not None:
            self._held, self._etag = found
            after, downloads = (yield renew).step, downloads + 1
            if after == before or self._is_async or downloads == MOST_DOWNLOADS:
                break
            before = after
        self.step = before
        return self._held

    def _changed(self) -> Conversation[tuple[Arrays, str | None] | None]:
        """Return the held parameters and their ETag; `None` if they are those that the worker has."""
        try:
            found: tuple[Arrays, str | None] = yield _worker_calls.params(self._state.id, self._etag)
        except APIStatusError as answer:
            if answer.status != NOT_MODIFIED:
                raise
            return None
        return found


class WorkerState(WorkerPlace):
    """The state of a worker as its client knows it."""

    def _contribute(self, grads: Tree, **options: Unpack[ContributionOptions]) -> Conversation[Any]:
        """Send a contribution until it has a fate; return the newest parameters in the structure of the gradients."""
        parts, sent, call = self._call(grads, **options)
        try:
            fate, applied = yield from (self._of_step if self._is_async else self._of_round)(sent, call)
        except (NonFinite, WorkerFenced) as refusal:
            self.contribution = _dropped(sent, REASONS[type(refusal)])
            raise
        self._settle(fate)
        after = {} if applied is None else self._stepped(applied, options.get("loss"))
        if not after:
            held = yield from self._newest()
            return rebuilt(grads, lambda name, _: held.get(name))
        wide = widened(after, parts.floats) if self._state.info.wire_dtype else after
        return rebuilt(grads, lambda name, _: wide.get(name))

    def _call(
        self, grads: Tree, **options: Unpack[ContributionOptions]
    ) -> tuple[Parts, Contribution, Call[Applied | None]]:
        """Return the gradients, the contribution without a fate, and its call. Raises `TypeError` and `ValueError`."""
        if unknown := options.keys() - ContributionOptions.__annotations__.keys():
            raise TypeError(f"contribute() got an unexpected keyword argument {min(unknown)!r}")
        numbers: dict[str, Any] = {"epoch": self._present(), **options}
        step = numbers.pop("step", None)
        given = {name: grad for name, grad in flattened("grads", grads).items() if grad is not None}
        if not given:
            raise ValueError("contribute() has no gradient: grads is empty, or holds nothing but None")
        number = self.round if step is None else _arguments.whole("step", step)
        if self._is_async and numbers.get("base_step") is None:
            numbers["base_step"] = self.step
        beside, parts = Beside(**numbers), parts_of(given)
        narrow = Parts(self._state._narrowed(parts.floats), parts.others)
        sent = Contribution(
            self.name, number, None, epoch=beside.epoch, weight=_arguments.number("weight", beside.weight)
        )
        where = self._state.id, self.name, number
        if self._is_async:
            sent = replace(sent, round=self.step + 1, seq=number)
            return parts, sent, _worker_calls.contribute_async(*where, narrow, beside)
        wait = 0 if self._may_skip and not _is_finite(parts) else self._wait
        return parts, sent, _worker_calls.contribute(*where, narrow, beside, wait)

    @property
    def _may_skip(self) -> bool:
        """Return whether the service drops numbers that are not finite without an error."""
        return self._state.info.on_non_finite == "skip"

    def _of_round(self, sent: Contribution, call: Call[Applied | None]) -> Conversation[Fate]:
        """Contribute to a round; return the fate, and the step's answer if it came with that."""
        try:
            applied: Applied | None = yield from noticing(self._state, call, self._known_step)
        except (RoundClosed, Stale) as refusal:
            return _dropped(sent, REASONS[type(refusal)]), None
        except ContributionMismatch:
            yield from self._decided(sent)
            return _dropped(sent, KEPT), None
        if applied is not None and not self._may_skip:
            return replace(sent, fate="applied"), applied
        return (yield from self._decided(sent)), applied

    def _of_step(self, sent: Contribution, call: Call[Applied | None]) -> Conversation[Fate]:
        """Contribute a step; return the fate, and the answer unless others have stepped since."""
        try:
            applied: Applied | None = yield from noticing(self._state, call, self._known_step)
        except Stale:
            return _dropped(sent, REASONS[Stale]), None
        except StepConflict as conflict:
            if conflict.applied_as_step is None:
                raise
            return replace(sent, fate="applied", round=conflict.applied_as_step), None
        except ContributionMismatch:
            self._sent += 1  # that number is taken
            raise
        self._sent += 1
        if applied is None:
            return replace(sent, fate="applied"), None
        if applied.answer.skipped:
            return _dropped(sent, REASONS[NonFinite]), applied
        return replace(sent, fate="applied", round=applied.answer.step, staleness=applied.staleness), applied

    def _decided(self, sent: Contribution) -> Conversation[Contribution]:
        """Wait until this worker's contribution to the round has a fate, also where the round stays open without it."""
        wait, waited = 0, self._wait
        while True:  # at first without a wait: what was dropped at once ends none
            found = yield _worker_calls.read_round(self._state.id, sent.round, wait)
            own = [each for each in found.contributions if each.worker == self.name]
            if found.state == "applied" or (own and all(each.fate for each in own)):
                own.sort(key=lambda each: (each.applied, each.epoch == self.epoch))
                return own[-1] if own else sent
            self._say_waits(sent, found, waited)
            wait = self._wait
            waited += wait

    def _say_waits(self, sent: Contribution, found: RoundInfo, waited: float) -> None:
        """Log that the round is open; once it has no quorum at the deadline, a warning."""
        is_overdue = found.need > 0 and 0 <= waited - self._setting("deadline_seconds", DEADLINE_SECONDS) < self._wait
        say = log.warning if is_overdue else log.info
        say("%s waits: %d are in, and the quorum needs %d more", self._where(sent), found.have, found.need)

    def _settle(self, fate: Contribution) -> None:
        """Remember the fate of a contribution, and log that it was dropped."""
        self.contribution = fate
        if fate.fate == "dropped":
            log.warning("%s: the contribution was dropped (%s)", self._where(fate), fate.reason)

    def _where(self, sent: Contribution) -> str:
        return f"session {self._state.id}, worker {self.name}, round {sent.round}"

    def _stepped(self, applied: Applied, loss: SupportsFloat | None) -> Arrays:
        """Remember the answer of a step; return its parameters, or nothing if it has some rows of them alone."""
        answer, state = applied.answer, self._state
        is_next = answer.step == self.step + 1  # else what it lacks may have changed in the steps between
        has_all = is_next or self._held.keys() <= answer.params.keys()
        self.step = answer.step
        if answer.step >= state.info.step:
            state._stepped(answer, [], loss)
            state._etag = applied.etag
        is_whole = self._etag is not None and has_all and not (applied.rows or state.info.wire_dtype)
        self._held = {**self._held, **answer.params} if is_whole else {}
        self._etag = applied.etag if is_whole else None
        return {} if applied.rows else {**self._held, **answer.params}


def _dropped(sent: Contribution, reason: str) -> Contribution:
    return replace(sent, fate="dropped", reason=reason)


def _is_finite(parts: Parts) -> bool:
    """Return whether no number of the gradients is a NaN or an infinity."""
    scales = parts.others.get("scale", {})
    return all(bool(np.isfinite(np.asarray(array)).all()) for array in [*parts.floats.values(), *scales.values()])
