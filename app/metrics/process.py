"""The metrics of the server processes: processor time, memory, files."""

import time
from functools import partial

from prometheus_client import ProcessCollector

from app.metrics.families import Family, Gauge, Join, Tally

FRESH_SECONDS = 0.1
"""The time for which a look at the process is used again: each number is read by itself."""
GAUGES: tuple[tuple[str, str, Join], ...] = (
    ("process_virtual_memory_bytes", "Virtual memory size in bytes.", "sum"),
    ("process_resident_memory_bytes", "Resident memory size in bytes.", "sum"),
    ("process_start_time_seconds", "Start time of the oldest process since unix epoch in seconds.", "min"),
    ("process_open_fds", "Number of open file descriptors.", "sum"),
    ("process_max_fds", "Maximum number of open file descriptors.", "sum"),
)


class ProcessMetrics:
    """The metrics of this process, with the names that all programs have for them."""

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)
        self._looked = 0.0
        self._found: dict[str, float] = {}
        self.families: list[Family] = [
            Tally(
                "process_cpu_seconds",
                "Total user and system CPU time spent in seconds.",
                partial(self._read, "process_cpu_seconds_total"),
            ),
            *(Gauge(name, words, partial(self._read, name), join=join) for name, words, join in GAUGES),
        ]

    def _read(self, name: str) -> float | None:
        if time.monotonic() > self._looked + FRESH_SECONDS:
            self._looked = time.monotonic()
            self._found = {
                sample.name: sample.value for metric in self._collector.collect() for sample in metric.samples
            }
        return self._found.get(name)
