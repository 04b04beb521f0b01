"""A fork server for tests: it has imported the service once, and forks each server process from itself.

The children run what `python -m app.cli` runs, each with its own session, arguments, environment and log. They share
nothing but the imports, which take twenty times as long as all else of a start. A child tells its end by a pipe, of
which it alone holds the other end.
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
from typing import IO, NoReturn

from tests.reaper import tie, tied

IMPORTED = ("app.main", "app.serve", "app.keys_file", "optim_client", "typer")
IMPORTED += ("app.flags", "app.store.lmdb", "app.store.memory", "app.store.redis")
IMPORTED += ("uvicorn.lifespan.on", "uvicorn.loops.uvloop")
"""The modules of `optim serve`, without `app.cli`, which each child runs as its main program."""
NUMBER = struct.Struct("i")


class Forked:
    """A server process that was forked, with the part of `subprocess.Popen` that tests need."""

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
        """Return the exit status at its end, negative for a signal. Raise `TimeoutError` if it runs longer."""
        if self._status is None:
            self._line.settimeout(timeout)
            self._status = self._number()
            self._line.close()
        return self._status

    def _number(self) -> int:
        return int(NUMBER.unpack(self._line.recv(NUMBER.size))[0])


@cache
def _started(_python_path: str) -> socket.socket:
    """Start the fork server for one `PYTHONPATH`; return the socket that takes its requests."""
    requests, other_end = socket.socketpair()
    with other_end:
        command = [sys.executable, "-m", __name__, str(other_end.fileno())]
        server = tied(command, pass_fds=[other_end.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
    atexit.register(server.wait)
    atexit.register(requests.close)
    return requests


def serve(requests: socket.socket) -> None:
    """Fork a child for each request, until nobody can ask. Send its id on its line, and at its end its exit status."""
    children: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for ready in select.select([requests, *children], [], [])[0]:
            if ready is not requests:  # a pipe whose other end the child had
                report(*children.pop(ready))
                os.close(ready)
            elif received := socket.recv_fds(requests, 1, 2)[1]:
                line, (ended, alive) = socket.socket(fileno=received[0]), os.pipe()
                if (pid := os.fork()) == 0:
                    for inherited in (requests, *(other for _, other in children.values())):
                        inherited.close()
                    for pipe in (ended, *children):
                        os.close(pipe)
                    run(line, log=received[1])
                os.close(alive)
                os.close(received[1])
                line.sendall(NUMBER.pack(pid))
                children[ended] = pid, line
            else:
                return


def report(pid: int, line: socket.socket) -> None:
    """Send the exit status of a child that ends."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with line, suppress(BrokenPipeError):
        line.sendall(NUMBER.pack(status))


def run(line: socket.socket, log: int) -> NoReturn:
    """Run `python -m app.cli` in this child, with the arguments and the environment that stand on its line."""
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
    raise SystemExit


if __name__ == "__main__":
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
