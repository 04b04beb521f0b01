"""The facts about the machine: its processor, and the versions of the software. Never the machine's name or a path."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.servers import redis_binary

LIBRARIES = ("numpy", "uvicorn", "fastapi", "redis", "lmdb", "torch", "ray")
DECORATION = re.compile(r"\((R|TM)\)|\bCPU\b|\bProcessor\b|\b\d+-Core\b|@.*", re.IGNORECASE)
"""The parts of a processor's name that do not tell it from others."""


def facts() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    server, allocator = redis_of(_said([redis_binary(), "--version"]))
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / (1 << 30):.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "redis server": server,
        "redis server's allocator": allocator,
        **{name: version(name) for name in LIBRARIES},
    }


def plain(model: str) -> str:
    """Return a processor's name without trademarks, cores and frequency, such as `Intel Xeon Platinum 8581C`."""
    return " ".join(DECORATION.sub(" ", model).split())


def slug(processor: str) -> str:
    """Return a processor's name as the name of a file, such as `intel-xeon-platinum-8581c`."""
    return "-".join(re.findall(r"[a-z0-9]+", processor.lower()))


def redis_of(said: str) -> tuple[str, str]:
    """Return the server and its allocator, such as `Redis 7.0.15` and `jemalloc-5.3.0`, from what `--version` says."""
    found = re.match(r"(\w+) server v=(\S+) .*\bmalloc=(\S+)", said)
    return (f"{found[1]} {found[2]}", found[3]) if found else (said.strip(), "unknown")


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return plain(names[0]) if names else platform.machine()
