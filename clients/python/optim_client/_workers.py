"""The workers of a session, and the verbs of its rounds; `_async_workers.py` is the same with `await`.

`_worker_state.py` decides for both.
"""

import logging
from typing import Any, Self, TypeVar, Unpack, overload

from optim_client import _worker_calls
from optim_client._heart import Heart
from optim_client._session import SessionSteps
from optim_client._tensors import Arrays, GradsLike
from optim_client._trees import Tree, TreeT
from optim_client._worker_calls import ContributionOptions
from optim_client._worker_state import WorkerState
from optim_client.documents import RoundInfo, WorkerInfo
from optim_client.errors import OptimError

BEATS = 3
"""The renewals in the length of a lease."""
LEAVE_SECONDS = 5.0
"""Seconds without progress after which a worker that leaves does not wait for an answer."""

T = TypeVar("T")

log = logging.getLogger("optim_client")


class Worker(WorkerState):
    """A worker of a session, made by `session.worker(name)`. For one thread.

    In a `with` block it has joined, and a thread renews its lease.

    Args:
        session: The session.
        name: The worker's name.

    Example:
        with team.worker("gpu-3") as worker:
            params = worker.params()
            params = worker.contribute(grads, weight=32)
    """

    def __init__(self, session: "SessionWorkers", name: str) -> None:
        super().__init__(session, name, session._client.timeout.read)
        self._client = session._client
        self._heart = Heart(self._client)

    def join(self) -> Self:
        """Join, as a `with` block does at its start: another process that has joined by the same name is fenced.

        Returns:
            The worker.

        Raises:
            WorkersOnly: The session has no workers: give it `workers`.
            QuotaExceeded: The session has as many workers as it may.
            InvalidSession: The name has other characters than a worker's may.
            StateLost: The session went back to an earlier step: its store lost some. The next `join()` accepts that.

        Example:
            worker = team.worker("gpu-4").join()
            worker.leave()
        """
        self._client._make(self._join())
        renew = _worker_calls.renew(self._state.id, self.name, self._present())
        self._heart.start(self, renew, self.lease_seconds / BEATS)
        return self

    def leave(self) -> None:
        """Leave, as a `with` block does at its end. What the worker has contributed stays.

        One try is made, so that a service that is down delays nobody: the lease then ends by itself.

        Example:
            worker.leave()
        """
        epoch, self._epoch = self.epoch, None
        self._heart.stop()
        if epoch is not None:
            once = self._client.with_options(max_retries=0, timeout=LEAVE_SECONDS)
            try:
                once._run(_worker_calls.leave(self._state.id, self.name, epoch))
            except (OptimError, RuntimeError) as error:  # RuntimeError: the client is closed
                log.info("worker %s did not leave: %s", self.name, error)

    @overload
    def params(self) -> Arrays: ...

    @overload
    def params(self, like: TreeT) -> TreeT: ...

    def params(self, like: Tree | None = None) -> Any:
        """Return the parameters that the next gradients are to be computed from.

        They are downloaded if there was a step since the worker got some, else they are the same arrays as before.

        Args:
            like: A tree that gives the answer its structure; without it, names to arrays.

        Returns:
            The parameters, in the shapes and dtypes that the session holds them in.

        Raises:
            WorkerFenced: Another process has joined by the worker's name.
            StateLost: The session went back to an earlier step: its store lost some. `join()` goes on from there.

        Example:
            params = worker.params()
        """
        return self._client._make(self._params(like))

    @overload
    def contribute(self, grads: GradsLike, **options: Unpack[ContributionOptions]) -> Arrays: ...

    @overload
    def contribute(self, grads: Tree, **options: Unpack[ContributionOptions]) -> Any: ...

    def contribute(self, grads: Tree, **options: Unpack[ContributionOptions]) -> Any:
        """Contribute to the open round, and wait until it is a step.

        A contribution that is dropped raises nothing: the newest parameters are returned, to go on from, and
        `contribution` says why. It is `late` if the round was closed without it, and `stale` if its parameters are too
        old. After a crash it may be `mismatch`: the worker's contribution from before the crash was in the round.

        Args:
            grads: The gradients, as for `session.step`.
            options: `weight`, such as the number of tokens in the batch; `loss`, for the history; `grad_scale`, which
                divides the gradients; `step`, the number of another round than `round`, for a repetition after a crash;
                `base_step`, the step whose parameters the gradients are of, if that is not `worker.step`.

        Returns:
            The parameters of the round's step, in the structure of the gradients: the same bits for all workers. They
            are whole tensors, also where `Rows` were sent.

        Raises:
            WorkerFenced: Another process has joined by the worker's name; `join()` takes it back.
            NonFinite: A gradient has a NaN or an infinity, and the session rejects those.
            TensorMismatch: A tensor has another shape or dtype than before.
            InvalidSession: The session takes no weights.
            StateLost: The session went back to an earlier step: its store lost some. `join()` goes on from there.
            ContributionMismatch: In the asynchronous mode, that number was taken by other gradients.
            APIConnectionError: No answer came; the same call again is applied once.
            TypeError: An array or an option has a wrong type. Nothing was sent.
            ValueError: There is no gradient, or two arrays have one name. Nothing was sent.

        Example:
            params = worker.contribute(grads, weight=32, loss=0.53)
            assert worker.contribution.applied
        """
        return self._client._make(self._contribute(grads, **options))

    def __enter__(self) -> Self:
        return self.join()

    def __exit__(self, *_: object) -> None:
        self.leave()


class SessionWorkers(SessionSteps):
    """The verbs of a session that has `workers`."""

    def worker(self, name: str) -> Worker:
        """Return a worker of the session, which joins in a `with` block.

        Args:
            name: The worker's name: letters, digits and . _ ~ : @ -, the same each time that its program is started.

        Returns:
            The worker, which has not joined yet.

        Raises:
            TypeError: The name is no string.
            ValueError: It is empty, or leads to another path.

        Example:
            with team.worker("gpu-3") as worker:
                params = worker.contribute(grads, weight=32)
        """
        return Worker(self, name)

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that have joined and not left, by name.

        Returns:
            Each with its lease, its last contribution and how late that was.

        Raises:
            SessionNotFound: The session was deleted, or has expired.

        Example:
            names = [each.worker for each in team.workers()]
        """
        return self._client._run(_worker_calls.workers(self.id))

    def round(self, number: int, *, wait: int = 0) -> RoundInfo:
        """Return a round, with each contribution and its fate.

        Args:
            number: The number of the step that it became, or is to become.
            wait: Seconds to wait for it to be applied, at most 60.

        Returns:
            The round as it is then.

        Raises:
            StepConflict: It is beyond the open round.
            MalformedQuery: `wait` is out of range.
            TypeError: An argument is no whole number. Nothing was sent.

        Example:
            dropped = [each for each in team.round(1).contributions if not each.applied]
        """
        return self._client._run(_worker_calls.read_round(self.id, number, wait))

    def close_round(self, number: int) -> RoundInfo:
        """Make a step of the contributions that are in, without waiting for others.

        Args:
            number: The number of the open round.

        Returns:
            The round, which is applied.

        Raises:
            NoQuorum: Too few are in.
            RoundClosed: It was closed before.
            StepConflict: It is beyond the open round.
            TypeError: The number is no whole number. Nothing was sent.

        Example:
            try:
                closed = team.close_round(2)
            except NoQuorum as error:
                print(error.need)
        """
        return self._client._run(_worker_calls.close_round(self.id, number))
