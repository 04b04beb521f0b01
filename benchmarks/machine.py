"""The facts about the machine: its processor, and the versions of the software. Never the machine's name or a path."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.servers import redis_binary

LIBRARIES = ("numpy", "uvicorn", "fastapi", "redis", "lmdb", "torch", "ray")


def facts() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / (1 << 30):.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "redis server": _redis(),
        **{name: version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _redis() -> str:
    """Return the version of Redis, such as `Redis 7.0.15` or `Valkey 9.1.0`."""
    said = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"(\w+) server v=(\S+)", said)
    return f"{found[1]} {found[2]}" if found else said.strip()
