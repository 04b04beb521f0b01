"""The reaper of tests: processes end with the run that started them, even after a `kill -9` of the run.

A separate process reads their ids from a pipe. The pipe's end is the run's end; then it kills those that are left.
That needs only pipes, and no thread or fixture of the run.
"""

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import psutil

_reaper: "subprocess.Popen[bytes] | None" = None


def tied(command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
    """Start a process as `subprocess.Popen` does, which does not outlive this one by more than a moment."""
    _running()
    process = subprocess.Popen(command, **options)
    tie(process.pid)
    return process


def tie(pid: int) -> None:
    """Have a running process end with this one."""
    reaper = _running()
    with suppress(psutil.NoSuchProcess):  # it has ended
        assert reaper.stdin
        reaper.stdin.write(b"%d %r\n" % (pid, psutil.Process(pid).create_time()))
        reaper.stdin.flush()


def _running() -> "subprocess.Popen[bytes]":
    """Return the reaper of this process, started before."""
    global _reaper  # noqa: PLW0603
    if _reaper is None:
        _reaper = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run
        )
        atexit.register(_reaper.communicate)
    return _reaper


def reap(lines: Iterable[bytes]) -> None:
    """Read ids and start times until the lines end, then kill those processes and their children."""
    for pid, created in [(int(pid), float(created)) for pid, created in map(bytes.split, lines)]:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() != created:  # another process got its id
                continue
            for child in process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
            continue
        with suppress(ProcessLookupError, PermissionError):  # its group may outlive it
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    reap(sys.stdin.buffer)
