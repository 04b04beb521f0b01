"""The metrics of the calls to the store."""

from app.metrics.sharing import numbers_of
from app.metrics.store import VERBS, StoreMetrics


def test_calls_errors_and_conflicts_are_counted_by_verb() -> None:
    metrics = StoreMetrics()
    for seconds in (0.002, 0.02):
        metrics.count("save", seconds)
    metrics.count_error("load")
    metrics.count_conflict()
    numbers = numbers_of(metrics.families)
    assert {verb: sum(values[:-1]) for (verb,), values in numbers["optim_store_seconds"].items()} == {
        verb: 2 * (verb == "save") for verb in VERBS
    }
    assert numbers["optim_store_errors"]["load",] == numbers["optim_store_conflicts"][()] == [1]
