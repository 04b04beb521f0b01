"""The service on a Ray of its own, started by Ray's command from the project's own configuration."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil
import yaml

from tests.docs.blocks import ROOT
from tests.reaper import tied
from tests.servers import free_port

CONFIGURATION = ROOT / "deploy/ray/serve.yaml"
START_SECONDS, STOP_SECONDS = 300.0, 120.0
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ANSWERED = re.compile(r"^\(ServeReplica:optim:Optim pid=(\d+)\).* status=200", re.MULTILINE)
STEP = re.compile(r"^\(ServeReplica:optim:Optim pid=(\d+)\).*/steps status=200.* session=(\w+)", re.MULTILINE)


class RayService:
    """Replicas on a store. They end with the block."""

    def __init__(self, store: str, folder: Path, replicas: int) -> None:
        self.port = free_port()
        self._count = replicas
        self._store, self._log = store, folder / "log"
        self._file = folder / "serve.yaml"
        whole = yaml.safe_load(CONFIGURATION.read_text())
        whole["http_options"]["port"] = self.port
        whole["applications"][0]["args"] = {"replicas": replicas, "cpus": 0.1}
        self._file.write_text(yaml.safe_dump(whole))
        self._process: subprocess.Popen[Any] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def replicas(self) -> list[int]:
        """Return the ids of the replicas' processes."""
        assert self._process
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [child.pid for child in children if "ServeReplica:optim" in _command(child)]

    def log(self) -> str:
        """Return what the service and Ray have written."""
        return COLOUR.sub("", self._log.read_text(encoding="utf-8", errors="replace"))

    def homes(self) -> dict[str, list[int]]:
        """Return, for each session, the processes that took its steps, in their order."""
        found: dict[str, list[int]] = {}
        for pid, session in STEP.findall(self.log()):
            found.setdefault(session, []).append(int(pid))
        return found

    def __enter__(self) -> Self:
        end = time.monotonic() + START_SECONDS
        try:
            self._launch()
            while not self._answers() or len(set(ANSWERED.findall(self.log()))) < self._count:
                if time.monotonic() > end:
                    raise RuntimeError(f"no Ray: {self.log()}")
                if self._process and self._process.poll() is not None:  # on a busy machine, Ray gives up after 30 s
                    self._launch()
                time.sleep(0.2)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _launch(self) -> None:
        environment = os.environ | {
            "OPTIM_STORE": self._store,
            "OPTIM_INSECURE": "true",
            "RAY_AUTH_MODE": "disabled",
            "RAY_DEDUP_LOGS": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        command = [str(Path(sys.executable).with_name("serve")), "run", str(self._file)]
        with self._log.open("ab") as log:
            self._process = tied(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)

    def _answers(self) -> bool:
        """Ask any replica, which says so in the log."""
        try:
            return httpx2.get(f"{self.url}/v1/optimizers", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(STOP_SECONDS)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
