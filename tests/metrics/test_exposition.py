"""The text that Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from app.metrics.exposition import text_of
from app.metrics.families import Counter, Family, Gauge, Histogram, Tally
from app.metrics.sharing import numbers_of


def samples(*families: Family) -> dict[tuple[str, str, tuple[str, ...]], float]:
    """Return what Prometheus's own parser reads: by type, name and labels."""
    text = text_of(families, numbers_of(families)).decode()
    return {
        (metric.type, sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
    }


def test_counters_and_gauges_are_read_as_they_are() -> None:
    counter = Counter("optim_x", "Words.", ("code",))
    counter.add('a"b\\c\n')
    assert samples(counter, Tally("optim_y", "Words.", lambda: 2), Gauge("optim_z", "Words.", lambda: 3)) == {
        ("counter", "optim_x_total", ('a"b\\c\n',)): 1,
        ("counter", "optim_y_total", ()): 2,
        ("gauge", "optim_z", ()): 3,
    }


def test_the_buckets_of_a_histogram_are_cumulated() -> None:
    histogram = Histogram("optim_x", "Words.", (0.5, 1), ("verb",))
    for value in (0.1, 0.7, 0.8, 3):
        histogram.of("save").observe(value)
    assert samples(histogram) == {
        ("histogram", "optim_x_bucket", ("0.5", "save")): 1,
        ("histogram", "optim_x_bucket", ("1.0", "save")): 3,
        ("histogram", "optim_x_bucket", ("+Inf", "save")): 4,
        ("histogram", "optim_x_count", ("save",)): 4,
        ("histogram", "optim_x_sum", ("save",)): 4.6,
    }


def test_a_family_without_numbers_has_its_words() -> None:
    text = text_of([Gauge("optim_z", "Words.", lambda: None)], {}).decode()
    assert text == "# HELP optim_z Words.\n# TYPE optim_z gauge\n"
