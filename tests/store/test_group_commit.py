"""Group commit: the order of jobs, refusals and failures."""

import contextlib
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import pytest

from app.store.group_commit import GroupCommit


class Refused(Exception):
    pass


class Journal:
    """The committed writes of jobs; the first transaction waits until it is released, so that others queue up."""

    def __init__(self) -> None:
        self.committed: list[list[str]] = []
        self.first = threading.Event()
        self.broken_commits = 0
        self.batches: list[int] = []

    @contextlib.contextmanager
    def begin(self) -> Iterator[list[str]]:
        written: list[str] = []
        self.first.wait()
        yield written
        if self.broken_commits:
            self.broken_commits -= 1
            raise OSError("the disk is full")
        self.committed.append(written)


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def commits(journal: Journal) -> Iterator[GroupCommit[list[str]]]:
    commits: GroupCommit[list[str]] = GroupCommit(journal.begin, 100, (Refused,), journal.batches.append)
    yield commits
    journal.first.set()
    commits.close()


def writes(text: str, error: Exception | None = None) -> Callable[[list[str]], str]:
    def job(transaction: list[str]) -> str:
        if error and isinstance(error, Refused):
            raise error
        transaction.append(text)
        if error:
            raise error
        return text.upper()

    return job


def test_waiting_jobs_share_a_transaction_in_order(journal: Journal, commits: GroupCommit[list[str]]) -> None:
    answers = [commits.submit(writes(text)) for text in "abcd"]
    journal.first.set()
    assert [answer.result() for answer in answers] == ["A", "B", "C", "D"]
    assert list(chain(*journal.committed)) == ["a", "b", "c", "d"]
    assert len(journal.committed) <= 2


def test_batches_and_waiting_jobs_are_counted(journal: Journal, commits: GroupCommit[list[str]]) -> None:
    answers = [commits.submit(writes("first"))]
    while commits.waiting:  # until the thread has begun its transaction
        time.sleep(0.001)
    answers += [commits.submit(writes(text)) for text in "abc"]
    assert commits.waiting == 3
    journal.first.set()
    assert [answer.result() for answer in answers] == ["FIRST", "A", "B", "C"]
    assert (commits.waiting, journal.batches) == (0, [1, 3])


def test_a_transaction_takes_no_more_than_it_may_hold(journal: Journal, commits: GroupCommit[list[str]]) -> None:
    answers = [commits.submit(writes(text), size=60) for text in "abcde"]
    journal.first.set()
    assert [answer.result() for answer in answers] == ["A", "B", "C", "D", "E"]
    assert max(len(written) for written in journal.committed) == 2


def test_a_refusal_is_for_one_job_alone(journal: Journal, commits: GroupCommit[list[str]]) -> None:
    answers = [commits.submit(writes("a")), commits.submit(writes("b", Refused("no"))), commits.submit(writes("c"))]
    journal.first.set()
    with pytest.raises(Refused, match="no"):
        answers[1].result()
    assert (answers[0].result(), answers[2].result()) == ("A", "C")
    assert list(chain(*journal.committed)) == ["a", "c"]


def test_a_failed_transaction_is_retried_job_by_job(journal: Journal, commits: GroupCommit[list[str]]) -> None:
    answers = [commits.submit(writes("a")), commits.submit(writes("b", ValueError("bad"))), commits.submit(writes("c"))]
    journal.first.set()
    with pytest.raises(ValueError, match="bad"):
        answers[1].result()
    assert (answers[0].result(), answers[2].result()) == ("A", "C")
    assert list(chain(*journal.committed)) == ["a", "c"]


@pytest.mark.parametrize("error", [Refused, OSError])
@pytest.mark.parametrize("count", [1, 3])
def test_a_failed_job_is_freed_without_garbage_collection(
    journal: Journal, commits: GroupCommit[list[str]], error: type[Exception], count: int
) -> None:
    def failing(_: list[str]) -> None:
        raise error

    gc.disable()
    try:
        jobs = [partial(failing) for _ in range(count)]
        kept = [weakref.ref(job) for job in jobs]
        answers = [commits.submit(job) for job in jobs]
        journal.first.set()
        assert all(isinstance(answer.exception(), error) for answer in answers)
        commits.close()
        del jobs, answers
        assert [job() for job in kept] == [None] * count
    finally:
        gc.enable()


def test_no_job_is_answered_before_its_commit(journal: Journal, commits: GroupCommit[list[str]]) -> None:
    journal.broken_commits = 100
    answers = [commits.submit(writes(text)) for text in "abc"]
    journal.first.set()
    for answer in answers:
        with pytest.raises(OSError, match="the disk is full"):
            answer.result()
    assert journal.committed == []


def test_a_submitted_job_cannot_be_cancelled(journal: Journal, commits: GroupCommit[list[str]]) -> None:
    answers = [commits.submit(writes(text)) for text in "ab"]
    assert not any(answer.cancel() for answer in answers)
    journal.first.set()
    assert [answer.result() for answer in answers] == ["A", "B"]


def test_closing_finishes_all_submitted_jobs(journal: Journal, commits: GroupCommit[list[str]]) -> None:
    answers = [commits.submit(writes(text)) for text in "abcdef"]
    journal.first.set()
    commits.close()
    assert all(answer.done() for answer in answers)


def test_a_closed_writer_takes_no_job(journal: Journal, commits: GroupCommit[list[str]]) -> None:
    journal.first.set()
    commits.close()
    with pytest.raises(RuntimeError, match="no job is taken"):
        commits.submit(writes("a"))
    commits.close()
    assert journal.committed == []


def test_a_process_that_ends_finishes_its_jobs() -> None:
    script = """
import contextlib, time
from app.store.group_commit import GroupCommit

@contextlib.contextmanager
def begin():
    yield
    time.sleep(0.1)

commits = GroupCommit(begin, 1, (), lambda _: None)
for i in range(3):
    commits.submit(lambda _, i=i: print(i, flush=True), 1)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "0\n1\n2\n"
    assert ended.stderr == ""
