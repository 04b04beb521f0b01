"""The `optim` command with an adjustable wall clock: the file that CLOCK_OFFSET names has its offset in seconds.

`monotonic` and `perf_counter` stay as they are, as when an operator sets a real clock.
"""

import os
import time
from pathlib import Path

NAME = "CLOCK_OFFSET"


def install(file: Path) -> None:
    """Shift `time.time` and `time.time_ns` by the offset in the file from now on."""
    right, right_ns = time.time, time.time_ns

    def offset() -> int:
        return int(file.read_text() or 0)

    time.time = lambda: right() + offset()
    time.time_ns = lambda: right_ns() + offset() * 1_000_000_000


def jump(file: Path, seconds: int) -> None:
    """Set the offset, atomically."""
    fresh = file.with_suffix(".new")
    fresh.write_text(str(seconds))
    fresh.replace(file)


if __name__ == "__main__":
    install(Path(os.environ[NAME]))

    from app.cli import main

    main()
