"""Memory that nobody uses any more: given back to the system while there is nothing to do. Knows no request."""

import asyncio
import ctypes

from app.compute import Compute
from optim_engine.buffers import BUFFERS

IDLE_SECONDS = 5.0
"""Time without use, longer than the pause between most steps."""
MOST_KEPT_BYTES = 8 << 20
"""Free memory that `malloc` may keep at the end of an arena."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


async def let_go_when_idle(compute: Compute, seconds: float = IDLE_SECONDS) -> None:
    """Let go of buffers that were not used for so long, and of what `malloc` keeps while no step is computed.

    For as long as the service runs. Whoever needs memory while `malloc` gives back waits some milliseconds.
    """
    while True:
        before = compute.runs
        await asyncio.sleep(seconds)
        await asyncio.to_thread(BUFFERS.let_go, seconds)
        if compute.runs == before and _GLIBC:
            await asyncio.to_thread(_GLIBC.malloc_trim, 0)


def bound_malloc() -> None:
    """Have large blocks given back when they are freed. glibc else raises its bounds when it sees large ones, and then
    keeps up to 64 MiB for each thread, which no trimming finds."""
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
