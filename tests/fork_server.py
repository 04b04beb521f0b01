"""Server processes that are forked from one that has imported the service, and so start in a fraction of the time.

The fork server knows nothing of its children but when they end. A child is what `python -m app.cli` is, without the
imports: it reads arguments and environment from its line, a socket to the test, and has a session and a log of its own.
"""

import atexit
import gc
import json
import os
import runpy
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import IO

from tests.reaper import tie, tied

IMPORTED = ("app.main", "app.serve", "app.keys_file", "app.store.lmdb_copy", "optim_client", "typer")
IMPORTED += ("uvicorn.lifespan.on", "uvicorn.loops.uvloop")
"""All that `optim serve` imports but `app.cli`, which each child runs as its main program."""
NUMBER = struct.Struct("i")


class Forked:
    """A server process, with the part of `subprocess.Popen` that tests need."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> None:
        requests = _started(os.environ.get("PYTHONPATH", ""))
        self._line, other_end = socket.socketpair()
        with other_end:
            socket.send_fds(requests, [b"\0"], [other_end.fileno(), log.fileno()])
        self._line.sendall(json.dumps([list(arguments), dict(environment)]).encode() + b"\n")
        self.pid = self._number()
        tie(self.pid)
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status; `None` while it runs."""
        with suppress(BlockingIOError):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once it has ended, negative for a signal. Raise `TimeoutError` where it has not."""
        if self._status is None:
            self._line.settimeout(timeout)
            self._status = self._number()
            self._line.close()
        return self._status

    def _number(self) -> int:
        return int(NUMBER.unpack(self._line.recv(NUMBER.size))[0])


@cache
def _started(_python_path: str) -> socket.socket:
    """Start the fork server of processes that find these modules; return the socket that takes requests."""
    requests, other_end = socket.socketpair()
    with other_end:
        command = [sys.executable, "-m", __name__, str(other_end.fileno())]
        server = tied(command, pass_fds=[other_end.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
    atexit.register(server.wait)
    atexit.register(requests.close)
    return requests


def serve(requests: socket.socket) -> None:
    """Fork a child for each request, until nobody can ask; send its id on its line, and its exit status at its end."""
    children: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for ready in select.select([requests, *children], [], [])[0]:
            if ready is not requests:  # the other end of this pipe has closed: the child had it
                pid, line = children.pop(ready)
                os.close(ready)
                with line, suppress(BrokenPipeError):
                    line.sendall(NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
                continue
            if not (received := socket.recv_fds(requests, 1, 2)[1]):
                return
            line, (alive, held) = socket.socket(fileno=received[0]), os.pipe()
            if (pid := os.fork()) == 0:
                for inherited in (requests, *(line for _, line in children.values())):
                    inherited.close()
                for pipe in (alive, *children):
                    os.close(pipe)
                return run(line, log=received[1])
            os.close(held)
            os.close(received[1])
            line.sendall(NUMBER.pack(pid))
            children[alive] = pid, line


def run(line: socket.socket, log: int) -> None:
    """Be `python -m app.cli`, in a child."""
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    with line, line.makefile("rb") as asked:
        arguments, environment = json.loads(asked.readline())
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["optim", *arguments]
    runpy.run_module("app.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
