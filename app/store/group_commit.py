"""Group commit: one thread writes, and all jobs that wait while it syncs share the next transaction and its sync.

It knows transactions only as context managers: they commit at their end, and undo all after an exception.
"""

import atexit
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from itertools import repeat
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, NamedTuple, TypeVar

Transaction = TypeVar("Transaction")
Result = TypeVar("Result")


class _Job(NamedTuple):
    run: Callable[[Any], Any]
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
        count: Callable[[int], None],
    ) -> None:
        """Begin the thread. `count` is told of the number of jobs in each batch."""
        self._begin = begin
        self._batch_bytes = batch_bytes
        self._refusals = refusals
        self._count = count
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._closing = Lock()
        self._is_open = True
        self._thread = Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def waiting(self) -> int:
        """Return the number of jobs that wait for a transaction."""
        return self._waiting.qsize()

    def submit(
        self,
        run: Callable[[Transaction], Result],
        size: int = 0,
        answer: Future[Result] | None = None,
    ) -> Future[Result]:
        """Queue a job; return its answer, which comes with the commit. `size` is about how many bytes it writes.

        Raises `RuntimeError` once it is closed.
        """
        answer = answer or Future()
        answer.set_running_or_notify_cancel()  # nobody can cancel it from now on: a job cannot be taken back
        with self._closing:
            if not self._is_open:
                raise RuntimeError("no job is taken once the writer is closed")
            self._waiting.put(_Job(run, size, answer))
        return answer

    def close(self) -> None:
        """Wait until all submitted jobs are done."""
        with self._closing:
            if self._is_open:
                self._is_open = False
                self._waiting.put(None)
        self._thread.join()
        atexit.unregister(self.close)

    def _work(self) -> None:
        """Run all jobs, until there are no more to come."""
        while self._attempt(self._batch()):
            pass

    def _batch(self) -> list[_Job]:
        """Wait for a job; return it and those behind it, as many as fit into a transaction. None at the end."""
        first = self._waiting.get()
        if first is None:
            return []
        batch = [first]
        room = self._batch_bytes - first.size
        while room > 0:
            try:
                job = self._waiting.get_nowait()
            except Empty:
                break
            if job is None:
                self._waiting.put(None)  # the last one: for the call after this one
                break
            batch.append(job)
            room -= job.size
        self._count(len(batch))
        return batch

    def _attempt(self, batch: list[_Job]) -> bool:
        """Run and commit the batch, and answer its jobs; return whether there were any.

        No frame of this thread keeps a job. It may hold views of a session's state, which a step could then not write
        over. And an error has the frames that it came through: with a job they would be a circle, which keeps the job
        until a garbage collection.
        """
        if not batch:
            return False
        try:
            answers = self._commit(batch)
        except BaseException as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:
                while batch:
                    self._attempt([batch.pop(0)])
            return True
        finally:
            del batch
        for answer in answers:
            answer()
        return True

    def _commit(self, batch: list[_Job]) -> list[Callable[[], None]]:
        """Run and commit the batch; return a function for each job that answers it."""
        try:
            with self._begin() as transaction:
                return [*map(self._run, batch, repeat(transaction))]  # a comprehension has a frame with the jobs
        finally:
            del batch

    def _run(self, job: _Job, transaction: Transaction) -> Callable[[], None]:
        try:
            result = job.run(transaction)
            return partial(job.answer.set_result, result)
        except self._refusals as refusal:
            return partial(job.answer.set_exception, refusal)
        finally:
            del job
