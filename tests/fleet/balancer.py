"""Real balancers, with the project's own configurations."""

import http.client
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.docs.blocks import ROOT
from tests.reaper import tied
from tests.servers import free_port

KINDS = {"haproxy": "deploy/haproxy/haproxy.cfg", "nginx": "deploy/nginx/nginx.conf"}
"""By name: the configuration."""
START_SECONDS = 20.0
REPLICA = re.compile(r"^ *server replica-(\d) replica-\1:8000.*|^ *server replica-(\d):8000.*", re.MULTILINE)
"""The line of a replica in either configuration."""


class Balancer:
    """A balancer on 127.0.0.1, before the replicas on these ports."""

    def __init__(self, name: str, folder: Path, replicas: Sequence[int]) -> None:
        self.name = name
        self.port = free_port()
        self._folder = folder
        self._file = folder / Path(KINDS[name]).name
        self._file.write_text(configuration(name, self.port, replicas))
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def checked(self) -> "subprocess.CompletedProcess[str]":
        """Have the balancer check its configuration, without a start."""
        return subprocess.run([*self._command(), *_CHECK[self.name]], capture_output=True, text=True, check=False)

    def start(self) -> None:
        """Start it, and wait until a replica answers through it."""
        with self._log.open("ab") as log:
            self._process = tied(self._command(), stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.name} did not come up; it said:\n{self.log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        return self._log.read_text()

    def _command(self) -> list[str]:
        found = shutil.which(self.name, path=f"{shutil.os.environ['PATH']}:/usr/sbin")
        assert found, f"no {self.name}: `make fleet` brings it"
        if self.name == "haproxy":
            return [found, "-f", str(self._file)]
        return [found, "-c", str(self._file), "-e", "stderr", "-g", f"daemon off; pid {self._folder}/nginx.pid;"]

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


_CHECK = {"haproxy": ["-c"], "nginx": ["-t"]}


def configuration(name: str, port: int, replicas: Sequence[int]) -> str:
    """Return the project's configuration, for a balancer on this port before these replicas, and no other change."""
    text = (ROOT / KINDS[name]).read_text()
    lines = [found[0] for found in REPLICA.finditer(text)]
    assert len(lines) == 3
    own = [re.sub(r"replica-1:8000", f"127.0.0.1:{at}", lines[0]) for at in replicas]
    own = [line.replace("replica-1", f"replica-{number}") for number, line in enumerate(own, 1)]
    text = text.replace("\n".join(lines), "\n".join(own))
    for public in ("bind :8080", "listen 8080"):
        text = text.replace(public, public.replace(":8080", f"127.0.0.1:{port}").replace(" 8080", f" 127.0.0.1:{port}"))
    return text


@contextmanager
def balancer(name: str, folder: Path, replicas: Sequence[int]) -> Iterator[Balancer]:
    """Run a balancer for a block."""
    started = Balancer(name, folder, replicas)
    started.start()
    try:
        yield started
    finally:
        started.stop()
