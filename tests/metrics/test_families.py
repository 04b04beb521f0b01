"""Families of metrics, in plain numbers."""

from app.metrics.families import Counter, Gauge, Histogram, Tally


def test_a_counter_counts_each_label_and_shows_known_ones() -> None:
    counter = Counter("optim_x", "Words.", ("outcome",), ("good", "bad"))
    counter.add("good")
    counter.add("good", amount=2.5)
    counter.add("new")
    assert counter.values() == {("good",): [3.5], ("bad",): [0.0], ("new",): [1.0]}


def test_a_counter_without_labels_starts_at_zero() -> None:
    counter = Counter("optim_x", "Words.")
    assert counter.values() == {(): [0.0]}
    counter.add(amount=2)
    assert counter.values() == {(): [2.0]}


def test_a_gauge_reads_when_asked() -> None:
    found: list[float | None] = [1.0, None]
    gauge = Gauge("optim_x", "Words.", lambda: found.pop(0))
    assert [gauge.values(), gauge.values()] == [{(): [1.0]}, {}]


def test_a_tally_shows_anothers_number() -> None:
    assert Tally("optim_x", "Words.", lambda: 7).values() == {(): [7]}
    assert Tally("optim_x", "Words.", lambda: None).values() == {}


def test_a_histogram_counts_a_bound_into_its_own_bucket() -> None:
    histogram = Histogram("optim_x", "Words.", (1, 10), ("verb",), ("idle",))
    for value in (0.5, 1, 1.5, 10, 11):
        histogram.of("save").observe(value)
    assert histogram.values() == {("idle",): [0, 0, 0, 0.0], ("save",): [2, 2, 1, 24.0]}
    assert Histogram("optim_x", "Words.", (1,)).values() == {(): [0, 0, 0.0]}
