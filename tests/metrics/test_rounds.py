"""The metrics of rounds: joins, fates, causes, and bytes."""

from app.metrics.exposition import text_of
from app.metrics.rounds import RoundMetrics
from app.metrics.sharing import numbers_of


def test_rounds_are_counted_by_cause_and_contributions_by_fate() -> None:
    metrics = RoundMetrics()
    metrics.count_join()
    for fate in ("applied", "applied", "late"):
        metrics.count_contribution(fate)
    metrics.count_bytes(300)
    metrics.count_round("grace", 2.4)
    lines = text_of(metrics.families, numbers_of(metrics.families)).decode().splitlines()
    assert {
        "optim_workers_joined_total 1.0",
        'optim_contributions_total{fate="applied"} 2.0',
        'optim_contributions_total{fate="late"} 1.0',
        'optim_rounds_total{cause="grace"} 1.0',
        'optim_round_seconds_bucket{le="1.0"} 0.0',
        'optim_round_seconds_bucket{le="2.5"} 1.0',
        "optim_contribution_bytes_total 300.0",
    } <= set(lines)
