"""Families as the text that Prometheus reads."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app.metrics.families import Family, Gauge, Histogram, Values

MEDIA_TYPE = CONTENT_TYPE_LATEST


class Exposition(Collector):
    """The families with the values to show, by their names."""

    def __init__(self, families: Sequence[Family], values: Mapping[str, Values]) -> None:
        self._families = families
        self._values = values

    def collect(self) -> Iterator[Metric]:
        """Yield each family as the library has it."""
        for family in self._families:
            yield _metric(family, self._values.get(family.name, {}))


def text_of(families: Sequence[Family], values: Mapping[str, Values]) -> bytes:
    """Return the families in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(Exposition(families, values))
    return generate_latest(registry)


def _metric(family: Family, values: Values) -> Metric:
    asked = family.name, family.words
    if isinstance(family, Histogram):
        histogram = HistogramMetricFamily(*asked, labels=family.labels)
        for labels, (*counts, total) in values.items():
            bounds = [*map(floatToGoString, family.bounds), "+Inf"]
            histogram.add_metric(labels, [*zip(bounds, accumulate(counts), strict=True)], total)
        return histogram
    kind = GaugeMetricFamily if isinstance(family, Gauge) else CounterMetricFamily
    plain = kind(*asked, labels=family.labels)
    for labels, (value,) in values.items():
        plain.add_metric(labels, value)
    return plain
