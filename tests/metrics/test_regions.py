"""The metrics of regions."""

from app.metrics.regions import RegionMetrics
from app.metrics.sharing import numbers_of


def test_regions_are_counted_and_their_bytes_noted() -> None:
    metrics = RegionMetrics()
    metrics.count("leased")
    metrics.have(400)
    metrics.have(300)
    assert numbers_of(metrics.families) == {
        "optim_regions": {("leased",): [1], ("refused",): [0]}, "optim_region_bytes": {(): [300]},
    }  # fmt: skip
