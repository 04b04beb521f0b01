"""Real server processes that run `optim serve`, and restart on the same port and store."""

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from tests.amounts import WHOLE
from tests.fork_server import Forked
from tests.reaper import tied
from tests.servers import free_port

START_SECONDS = 60.0
STOP_SECONDS = 40.0


class ServerProcess:
    """A server and its workers: one process group, which is killed whole.

    `module` runs in place of `optim`, `options` are more flags of `serve`, and `environment` replaces this process's.
    A server is forked where it may be, because that is twenty times quicker. It starts as an operator starts it when
    it is `cold`, has a module or an environment of its own, and in whole runs.
    """

    def __init__(
        self,
        store: str,
        log: Path,
        workers: int = 1,
        options: Sequence[str] = (),
        *,
        module: str = "app.cli",
        environment: Mapping[str, str] | None = None,
        cold: bool = False,
    ) -> None:
        self._is_forked = module == "app.cli" and environment is None and not (cold or WHOLE)
        self._module = module
        self._environment = environment
        self.port = free_port()
        self._arguments = ["serve", f"--store={store}", f"--port={self.port}", f"--workers={workers}"]
        self._arguments += ["--log-level=warning", *options]
        self._log = log
        self._process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def launch(self) -> None:
        """Start the server without waiting until it listens."""
        given = os.environ if self._environment is None else self._environment
        environment = {name: value for name, value in given.items() if not name.startswith("OPTIM_")}
        with self._log.open("ab") as log:
            if self._is_forked:
                self._process = Forked(self._arguments, environment, log)
                return
            command = [sys.executable, "-m", self._module, *self._arguments]
            self._process = tied(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            assert self._process
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not come up; it said:\n{self.log()}")
            time.sleep(0.01)

    def start(self) -> None:
        self.launch()
        self.wait_until_ready()

    def is_ready(self, timeout: float = 1) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """Kill the whole group with SIGKILL and wait for its end. Do nothing if it has ended."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM to the main process, as an operator or a container runtime does."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        assert self._process
        return self._process.wait(STOP_SECONDS)

    def rest(self) -> None:
        """Wait until the main process computes nothing. After a large step, it has then loaded the fused kernel."""
        process, used = psutil.Process(self.pid), -1.0
        while used != (used := sum(process.cpu_times()[:2])):
            time.sleep(0.3)

    def wait_until_silent(self) -> None:
        """Wait until new connections get no answer; a supervisor may still keep the port."""
        deadline = time.monotonic() + STOP_SECONDS
        while self.is_ready(timeout=0.2):
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def wait_until_port_is_free(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while not self._is_port_free():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def _is_port_free(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == errno.ECONNREFUSED

    def log(self) -> str:
        return self._log.read_text()

    def connections(self) -> dict[tuple[str, int], int]:
        """Return the process that serves each client, by the client's address."""
        processes = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        found = {}
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                for connection in process.net_connections("tcp"):
                    if connection.raddr:
                        found[connection.raddr.ip, connection.raddr.port] = process.pid
        return found


@contextmanager
def servers(
    stores: Sequence[str], folder: Path, workers: int = 1, options: Sequence[str] = (), *, cold: bool = False
) -> Iterator[list[ServerProcess]]:
    """Start a server for each store's URL, all at once."""
    started = [
        ServerProcess(store, folder / f"server-{i}.log", workers, options, cold=cold) for i, store in enumerate(stores)
    ]
    with ExitStack() as stack:
        for server in started:
            stack.callback(server.kill)
            server.launch()
        for server in started:
            server.wait_until_ready()
        yield started
