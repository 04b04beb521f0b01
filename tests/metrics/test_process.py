"""The metrics of the process."""

import os
import time
from pathlib import Path

from app.metrics.process import ProcessMetrics, memory_limit
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


def test_the_limit_is_that_of_the_container(tmp_path: Path) -> None:
    machine = memory_limit(tmp_path)
    assert machine > 1 << 28
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/one/other\n")
    (tmp_path / "sys/fs/cgroup/one/other").mkdir(parents=True)
    limit = tmp_path / "sys/fs/cgroup/one/other/memory.max"
    for text, expected in (("max\n", machine), ("268435456\n", 1 << 28), (f"{machine * 2}\n", machine)):
        limit.write_text(text)
        assert memory_limit(tmp_path) == expected
