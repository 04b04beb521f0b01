"""The counts of rounds: each join, fate, close and byte is counted once."""

import pytest

from app.metrics.exposition import Exposition
from app.metrics.rounds import RoundMetrics
from app.metrics.sharing import numbers_of
from app.store.piece import Piece
from app.workers.arrivals import take
from app.workers.ledger import Ledger
from app.workers.round_counts import RoundCounts
from tests.service.calls import serving
from tests.service.crew import Crew
from tests.service.pushes import BAD, ROUNDS, joined, push_of


@pytest.fixture
def metrics() -> RoundMetrics:
    return RoundMetrics()


@pytest.fixture
def counts(metrics: RoundMetrics) -> RoundCounts:
    return RoundCounts(metrics)


def found(metrics: RoundMetrics) -> dict[str, float]:
    """Return the counts that are not 0, by their name without its prefix and its label's value."""
    return {
        " ".join([sample.name.removeprefix("optim_"), *sample.labels.values()]): sample.value
        for metric in Exposition(metrics.families, numbers_of(metrics.families)).collect()
        for sample in metric.samples
        if sample.value and not sample.name.endswith(("_created", "_bucket"))
    }


def saved(counts: RoundCounts, ledger: Ledger, worker: str, at: float, nbytes: int = 0, **fields: object) -> Ledger:
    """Return the ledger after a push, which is counted."""
    push = push_of(ledger, worker, pieces=(Piece(worker, nbytes, ""),), **fields)
    after = take(ROUNDS, ledger, 0, 1, push, at, rejects=False).ledger
    counts.saved(ledger, after)
    return after


def test_a_saved_ledger_counts_joins_drops_and_bytes(counts: RoundCounts, metrics: RoundMetrics) -> None:
    ledger = joined("a")
    counts.saved(Ledger(), ledger)
    ledger = saved(counts, ledger, "a", 1.0, not_finite=BAD)
    ledger = saved(counts, ledger, "a", 2.0, 100, digest="finite")
    ledger = saved(counts, ledger, "a", 3.0, 100, digest="finite")
    saved(counts, ledger, "a", 3.0, digest="of an old process", epoch=0)
    assert found(metrics) == {
        "workers_joined_total": 1,
        "contributions_total non_finite": 1,
        "contribution_bytes_total": 100,
        "contributions_total fenced": 1,
    }


@pytest.mark.parametrize(
    ("times", "asked", "cause"),
    [
        ([1.0, 2.0, 3.0], False, "expected"),
        ([1.0, 2.0], False, "grace"),
        ([1.0, 60.5], False, "deadline"),
        ([1.0, 2.0], True, "asked"),
    ],
)
def test_a_close_counts_its_cause_time_and_applied_contributions(
    times: list[float], asked: bool, cause: str, counts: RoundCounts, metrics: RoundMetrics
) -> None:
    ledger = joined("a", "b", "c")
    for worker, at in zip("abc", times, strict=False):
        ledger = saved(counts, ledger, worker, at, 100)
    counts.closed(ROUNDS, ledger, 61.0, asked=asked)
    assert found(metrics) == {
        f"rounds_total {cause}": 1,
        "round_seconds_count": 1,
        "round_seconds_sum": 60.0,
        "contribution_bytes_total": 100 * len(times),
        "contributions_total applied": len(times),
    }


def test_the_service_counts_joins_fates_closes_and_bytes() -> None:
    with serving() as client:
        crew = Crew(client, "a", "b", "c", expected=3, quorum=1)
        crew.push(1, "a")
        crew.push(1, "b")
        open_round = counted(client.get("/metrics").text)
        nbytes = open_round.pop("optim_contribution_bytes_total")
        assert nbytes > 0
        assert open_round == {"optim_workers_joined_total": 3}
        client.post(f"{crew.session}/rounds/1/close")
        for _ in range(2):
            crew.push(1, "c")
        assert counted(client.get("/metrics").text) == {
            "optim_workers_joined_total": 3,
            "optim_contribution_bytes_total": nbytes,
            'optim_contributions_total{fate="applied"}': 2,
            'optim_contributions_total{fate="late"}': 1,
            'optim_rounds_total{cause="asked"}': 1,
            "optim_round_seconds_count": 1,
        }


def counted(text: str) -> dict[str, float]:
    """Return the counts of workers that are not 0, by their name in the text."""
    lines = [line.rpartition(" ")[::2] for line in text.splitlines() if not line.startswith("#")]
    kinds = ("optim_workers_joined_total", "optim_contribution", "optim_rounds_total", "optim_round_seconds_count")
    return {
        name: float(value)
        for name, value in lines
        if name.startswith(kinds) and float(value) and "_created" not in name
    }
