"""Joining, renewing and leaving: an epoch for each join, and a fence against all older ones."""

from typing import Any

import pytest

from app.errors import InvalidSession, QuotaExceeded, WorkerFenced
from app.worker_settings import MOST_WORKERS
from app.workers.ledger import Ledger
from app.workers.roster import MOST_JOINS, check_epoch, join, leave, renew
from tests.service.pushes import ROUNDS, joined


def test_each_join_fences_the_old_holder() -> None:
    ledger = joined("a", "b", "a")
    assert (ledger.epoch, ledger.workers["a"].epoch, ledger.workers["b"].epoch) == (3, 3, 2)
    assert check_epoch(ledger, "a", 3).expires_at == 30.0
    with pytest.raises(WorkerFenced, match="epoch 3, and this is 1") as refused:
        check_epoch(ledger, "a", 1)
    assert refused.value.fields == {"worker": "a"}


def test_a_repeated_join_has_the_same_epoch() -> None:
    first = join(ROUNDS, Ledger(), "a", "key", 0.0)
    again = join(ROUNDS, first.ledger, "a", "key", 9.0)
    assert (again.ledger is first.ledger, again.worker, again.repeated) == (True, first.worker, True)
    other = join(ROUNDS, first.ledger, "b", "key", 9.0)
    assert (other.worker.epoch, other.repeated) == (2, False)


def test_a_join_that_comes_late_fences_nobody() -> None:
    ledger = join(ROUNDS, join(ROUNDS, Ledger(), "a", "first", 0.0).ledger, "a", "second", 1.0).ledger
    with pytest.raises(WorkerFenced, match="joined again since"):
        join(ROUNDS, ledger, "a", "first", 2.0)
    for number in range(MOST_JOINS + 9):
        ledger = join(ROUNDS, ledger, "a", str(number), 2.0).ledger
    assert len(ledger.workers["a"].joins) == MOST_JOINS


def test_a_lease_is_renewed_by_its_holder_alone() -> None:
    ledger = joined("a", "a")
    assert renew(ROUNDS, ledger, "a", 2, 100.0).worker.expires_at == 130.0
    for name, epoch in (("a", 1), ("a", 3), ("b", 2)):
        with pytest.raises(WorkerFenced, match="to go on, join"):
            renew(ROUNDS, ledger, name, epoch, 1.0)


def test_who_has_left_is_fenced_until_it_joins_again() -> None:
    ledger = joined("b", "b", "a")
    assert leave(ledger, "c") is ledger
    with pytest.raises(WorkerFenced):
        leave(ledger, "a", 2)
    left = leave(ledger, "a", 3)
    assert left.workers.keys() == {"b"}
    with pytest.raises(WorkerFenced, match="has left"):
        check_epoch(left, "a", 3)
    assert joined("a", ledger=left).workers["a"].epoch == 4


def test_the_longest_expired_worker_makes_room() -> None:
    workers: dict[str, Any] = {}
    full = joined(*(f"w{number}" for number in range(MOST_WORKERS)))
    with pytest.raises(QuotaExceeded, match="all with a lease"):
        join(ROUNDS, full, "new", None, 29.0)
    full = renew(ROUNDS, full, "w0", 1, 20.0).ledger
    workers = dict(join(ROUNDS, full, "new", None, 31.0).ledger.workers)
    assert len(workers) == MOST_WORKERS
    assert {"new", "w0"} <= workers.keys()
    assert "w1" not in workers
    assert join(ROUNDS, full, "w5", None, 0.0).ledger.workers.keys() == full.workers.keys()


def test_a_name_that_no_path_can_have_is_refused() -> None:
    with pytest.raises(InvalidSession):
        join(ROUNDS, Ledger(), "a/b", None, 0.0)
