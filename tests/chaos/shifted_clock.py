"""`optim` on a wall clock that is set while it runs: as many seconds off as the file that CLOCK_OFFSET names says.

Clocks that nobody sets (`monotonic`, `perf_counter`) stay as they are, as with a real one.
"""

import os
import time
from pathlib import Path

NAME = "CLOCK_OFFSET"


def install(file: Path) -> None:
    """From now on `time.time` and `time.time_ns` are off by what the file says."""
    right, right_ns = time.time, time.time_ns

    def offset() -> int:
        return int(file.read_text() or 0)

    time.time = lambda: right() + offset()
    time.time_ns = lambda: right_ns() + offset() * 1_000_000_000


def jump(file: Path, seconds: int) -> None:
    """Set the clock; nobody reads a half-written file."""
    fresh = file.with_suffix(".new")
    fresh.write_text(str(seconds))
    fresh.replace(file)


if __name__ == "__main__":
    install(Path(os.environ[NAME]))

    from app.cli import main

    main()
