"""The machine: its memory, its limits, its Python and its kernel for large steps."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from app.doctor.finding import Finding, ok, warning
from app.settings import Settings
from optim_engine.machine import cache_folder, installed

MEMORY = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup/memory.max")
FEW_FILES = 4096


def examined(settings: Settings) -> Iterator[Finding]:
    """Yield the findings about this machine, for a service with these settings."""
    words = f"Python {platform.python_version()} on {platform.system()} {platform.release()}, {platform.machine()}"
    yield ok("system", f"{words}, {os.cpu_count()} processors")
    yield from _kernel()
    yield from _memory(settings)
    yield from _files()


def _kernel() -> Iterator[Finding]:
    name = installed()
    if name != "numba":
        yield warning("kernel", "NumPy computes large steps, too", "Install numba: the same bits in less time")
    elif (folder := cache_folder()) is None:
        words = "numba, without a folder to keep compiled kernels in: each process compiles them again"
        yield warning("kernel", words, "NUMBA_CACHE_DIR names a folder that this user may write")
    else:
        yield ok("kernel", f"numba, kept in {folder}")


def _memory(settings: Settings) -> Iterator[Finding]:
    if not MEMORY.exists():
        return
    lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
    total, free = (int(lines[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
    limit = CGROUP.read_text().strip() if CGROUP.exists() else "max"
    total = total if limit == "max" else min(total, int(limit))
    words = f"{min(free, total) / 1e9:.1f} of {total / 1e9:.1f} GB available"
    cached = (settings.state_cache_bytes + settings.spare_bytes) * settings.workers
    if cached > total:
        words = f"{words}; states in memory may take {cached / 1e9:.1f} GB"
        yield warning("memory", words, "Lower OPTIM_STATE_CACHE_BYTES, OPTIM_SPARE_BYTES or OPTIM_WORKERS")
    else:
        yield ok("memory", words)


def _files() -> Iterator[Finding]:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < FEW_FILES:
        words = f"{most} open files at most, and each connection is one"
        yield warning("files", words, "Raise the hard limit: ulimit -Hn, or LimitNOFILE in systemd")
    else:
        yield ok("files", f"{'any number of' if most == resource.RLIM_INFINITY else f'{most:,}'} open files")
