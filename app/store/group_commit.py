"""Group commit: one thread writes, and all jobs that wait while it syncs share the next transaction and its sync.

It knows transactions only as context managers: they commit at their end, and undo all after an exception.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

Transaction = TypeVar("Transaction")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Job(Generic[Transaction]):
    run: Callable[[Transaction], Any]
    size: int
    answer: Future[Any]


class GroupCommit(Generic[Transaction]):
    """The queue of jobs, run in the order given. A job may run twice: it must depend on the transaction alone.

    A job that raises one of `refusals` has changed nothing, and those beside it go on. After any other exception the
    whole transaction is undone, and each of its jobs runs again in one of its own.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[Transaction]],
        batch_bytes: int,
        refusals: tuple[type[Exception], ...],
    ) -> None:
        self._begin = begin
        self._batch_bytes = batch_bytes
        self._refusals = refusals
        self._waiting: SimpleQueue[_Job[Transaction]] = SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")

    def submit(self, run: Callable[[Transaction], Result], size: int = 0) -> Future[Result]:
        """Queue a job; return its answer, which comes with the commit. `size` is about how many bytes it writes."""
        answer: Future[Result] = Future()
        self._waiting.put(_Job(run, size, answer))
        self._thread.submit(self._drain)
        return answer

    def close(self) -> None:
        """Wait until all submitted jobs are done."""
        self._thread.shutdown(wait=True)

    def _drain(self) -> None:
        """Run a batch of the waiting jobs. It is called once for each job, and often finds none left."""
        batch: list[_Job[Transaction]] = []
        room = self._batch_bytes
        while room > 0:
            try:
                batch.append(self._waiting.get_nowait())
            except Empty:
                break
            room -= batch[-1].size
        if batch:
            self._attempt(batch)

    def _attempt(self, batch: list[_Job[Transaction]]) -> None:
        try:
            answers = self._commit(batch)
        except BaseException as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:
                for job in batch:
                    self._attempt([job])
            return
        for answer in answers:
            answer()

    def _commit(self, batch: list[_Job[Transaction]]) -> list[Callable[[], None]]:
        """Run and commit the batch; return a function for each job that answers it."""
        with self._begin() as transaction:
            return [self._run(job, transaction) for job in batch]

    def _run(self, job: _Job[Transaction], transaction: Transaction) -> Callable[[], None]:
        try:
            result = job.run(transaction)
        except self._refusals as refusal:
            return partial(job.answer.set_exception, refusal)
        return partial(job.answer.set_result, result)
