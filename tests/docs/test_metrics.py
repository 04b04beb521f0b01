"""The page of metrics: it has every metric with its type, its labels, and their values."""

from app.metrics.families import Family, Gauge, Histogram
from app.metrics.registry import Metrics
from tests.docs.blocks import read, rows

TABLE = {row[0].strip("`"): row[1:] for row in rows(read("docs/metrics.md"))}
OPEN = {"optim_requests", "optim_request_seconds", "optim_errors"}
"""The families whose labels have values of other pages: routes, codes."""


def shown(family: Family) -> tuple[str, str]:
    """Return the name and the type that Prometheus sees."""
    if isinstance(family, Histogram):
        return family.name, "histogram"
    return (family.name, "gauge") if isinstance(family, Gauge) else (f"{family.name}_total", "counter")


def test_every_metric_has_a_row_with_its_labels() -> None:
    found = {name: (row[0], row[1]) for name, row in TABLE.items()}
    assert found == {
        name: (kind, ", ".join(f"`{label}`" for label in family.labels))
        for family in Metrics().families
        for name, kind in [shown(family)]
    }


def test_every_known_value_of_a_label_has_its_word() -> None:
    labelled = [family for family in Metrics().families if family.labels and family.name not in OPEN]
    values = {shown(family)[0]: [*family.values()] for family in labelled}
    assert all(values.values())
    assert not [(name, value) for name in values for (value,) in values[name] if f"`{value}`" not in TABLE[name][2]]
