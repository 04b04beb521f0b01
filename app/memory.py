"""The return of unused memory to the system while the service is idle. Knows no request."""

import asyncio
import ctypes

from app.compute import Compute
from optim_engine.buffers import BUFFERS

IDLE_SECONDS = 5.0
"""Seconds without use; longer than the pause between most steps."""
MOST_KEPT_BYTES = 8 << 20
"""Free bytes that `malloc` may keep at the end of an arena."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


async def let_go_when_idle(compute: Compute, seconds: float = IDLE_SECONDS) -> None:
    """Release buffers that were idle for so long, and what `malloc` keeps while no step is computed.

    Runs as long as the service. An allocation waits some milliseconds while `malloc` trims.
    """
    while True:
        before = compute.runs
        await asyncio.sleep(seconds)
        await asyncio.to_thread(BUFFERS.let_go, seconds)
        if compute.runs == before and _GLIBC:
            await asyncio.to_thread(_GLIBC.malloc_trim, 0)


def bound_malloc() -> None:
    """Have large blocks returned when they are freed.

    Without this, glibc raises its thresholds when it sees large blocks, and keeps up to 64 MiB per thread untrimmed.
    """
    if _GLIBC:
        _GLIBC.mallopt(M_MMAP_THRESHOLD, MOST_KEPT_BYTES // 2)
        _GLIBC.mallopt(M_TRIM_THRESHOLD, MOST_KEPT_BYTES)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") else None
    except (OSError, TypeError):
        return None


_GLIBC = _glibc()
