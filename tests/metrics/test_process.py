"""The metrics of the process."""

import os
import time

from app.metrics.process import ProcessMetrics
from app.metrics.sharing import numbers_of


def test_the_process_is_counted_as_the_system_does() -> None:
    numbers = numbers_of(ProcessMetrics().families)
    (resident,) = numbers["process_resident_memory_bytes"][()]
    assert 1e6 < resident < 1e11
    (cpu,) = numbers["process_cpu_seconds"][()]
    assert abs(cpu - sum(os.times()[:2])) < 5
    (started,) = numbers["process_start_time_seconds"][()]
    assert started < time.time()
    assert numbers["process_open_fds"][()] < numbers["process_max_fds"][()]
