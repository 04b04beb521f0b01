"""The page of metrics: it has every metric with its type, its labels, and their values."""

import re

from app.main import create_app
from app.metrics.families import Family, Gauge, Histogram
from app.metrics.store import VERBS
from app.settings import Settings
from tests.docs.blocks import read, rows

TABLE = {row[0].strip("`"): row[1:] for row in rows(read("docs/metrics.md"))}
OPEN = {"optim_requests", "optim_request_seconds", "optim_errors", "optim_build_info"}
"""The families whose labels have values of other pages: routes, codes, versions."""
BY_VERB = {"optim_store_seconds", "optim_store_errors"}
STORES = "memory:", "lmdb:/nowhere", "redis://localhost"
FAMILIES = {
    family.name: family for url in STORES for family in create_app(Settings(store=url)).state.service.metrics.families
}.values()
"""The families of a service on any store."""


def shown(family: Family) -> tuple[str, str]:
    """Return the name and the type that Prometheus sees."""
    if isinstance(family, Histogram):
        return family.name, "histogram"
    return (family.name, "gauge") if isinstance(family, Gauge) else (f"{family.name}_total", "counter")


def test_every_metric_has_a_row_with_its_labels() -> None:
    found = {name: (row[0], row[1]) for name, row in TABLE.items()}
    assert found == {
        name: (kind, ", ".join(f"`{label}`" for label in family.labels))
        for family in FAMILIES
        for name, kind in [shown(family)]
    }


def test_every_known_value_of_a_label_has_its_word() -> None:
    labelled = [family for family in FAMILIES if family.labels and family.name not in OPEN | BY_VERB]
    values = {shown(family)[0]: [*family.values()] for family in labelled}
    assert all(values.values())
    assert not [(name, value) for name in values for (value,) in values[name] if f"`{value}`" not in TABLE[name][2]]


def test_every_verb_of_the_store_has_its_word() -> None:
    words = read("docs/metrics.md").partition("The verbs are ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", words)) == set(VERBS)
