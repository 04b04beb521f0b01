"""The metrics of the server processes: processor time, memory, files."""

import os
import time
from functools import partial
from pathlib import Path

from prometheus_client import ProcessCollector

from app.metrics.families import Family, Gauge, Join, Tally

FRESH_SECONDS = 0.1
"""The time for which a look at the process is used again: each number is read by itself."""
UNLIMITED = "max"
"""The limit of a container without one."""
GAUGES: tuple[tuple[str, str, Join], ...] = (
    ("process_virtual_memory_bytes", "Virtual memory size in bytes.", "sum"),
    ("process_resident_memory_bytes", "Resident memory size in bytes.", "sum"),
    ("process_start_time_seconds", "Start time of the oldest process since unix epoch in seconds.", "min"),
    ("process_open_fds", "Number of open file descriptors.", "sum"),
    ("process_max_fds", "Maximum number of open file descriptors.", "sum"),
)


def memory_limit(root: Path = Path("/")) -> int:
    """Return the bytes that the processes may have: the limit of their container, or the memory of the machine."""
    try:
        group = (root / "proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
        limit = (root / "sys/fs/cgroup" / group / "memory.max").read_text()
    except OSError:
        limit = UNLIMITED
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return machine if limit.strip() == UNLIMITED else min(int(limit), machine)


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
            Gauge("optim_memory_limit_bytes", "The most memory of all processes.", memory_limit, join="own"),
            *(Gauge(name, words, partial(self._read, name), join=join) for name, words, join in GAUGES),
        ]

    def _read(self, name: str) -> float | None:
        if time.monotonic() > self._looked + FRESH_SECONDS:
            self._looked = time.monotonic()
            self._found = {
                sample.name: sample.value for metric in self._collector.collect() for sample in metric.samples
            }
        return self._found.get(name)
