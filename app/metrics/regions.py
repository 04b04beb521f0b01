"""The metrics of regions, the memory that clients share."""

from app.metrics.families import Counter, Family, Gauge

OUTCOMES = ("leased", "refused")


class RegionMetrics:
    """The metrics of regions."""

    def __init__(self) -> None:
        self._asked = Counter("optim_regions", "Regions asked for: leased or refused.", ("outcome",), OUTCOMES)
        self._nbytes = 0
        self.families: list[Family] = [
            self._asked,
            Gauge("optim_region_bytes", "Bytes of the regions of open connections.", lambda: self._nbytes),
        ]

    def count(self, outcome: str) -> None:
        """Count a region that was asked for."""
        self._asked.add(outcome)

    def have(self, nbytes: int) -> None:
        """Note the bytes that all open connections have."""
        self._nbytes = nbytes
