"""The session of 100 million parameters: its size, and the memory that is measured."""

import math
import subprocess
import sys
import time

from benchmarks.big_session import MIB, SHAPES, Peak
from tests.reaper import tied

PROGRAM = """
import subprocess, sys
import numpy as np
CHILD = "import numpy as np; a = np.ones(8 << 20); print(1, flush=True); input()"
child = subprocess.Popen([sys.executable, "-c", CHILD])
a = np.ones(4 << 20)
print(1, flush=True)
input()
"""
"""A process with 32 MiB of its own, and a child with 64 MiB."""


def test_the_session_has_a_hundred_million_parameters() -> None:
    assert sum(math.prod(shape) for shape in SHAPES.values()) == 100_000_000


def test_the_peak_has_the_memory_of_a_process_and_its_children() -> None:
    with tied([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        with Peak(process.pid) as peak:
            for _ in range(2):
                process.stdout.readline()
            deadline = time.monotonic() + 30
            while peak.nbytes < 96 * MIB and time.monotonic() < deadline:
                time.sleep(0.01)
        process.communicate(b"\n\n")
    assert 96 * MIB <= peak.nbytes < 400 * MIB


def test_no_process_has_no_peak() -> None:
    with Peak(None) as peak:
        pass
    assert peak.nbytes == 0
