"""The worker processes of a session: their start, their kills, and what their logs say."""

import base64
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from optim_client._tensors import Arrays, decode

from tests.chaos import round_worker
from tests.chaos.round_worker import Orders
from tests.reaper import tied


@dataclass(frozen=True)
class Sent:
    """A contribution as its worker logged it before it was sent. Its place and its epoch name it."""

    round: int
    worker: str
    epoch: int
    time: float
    weight: float
    grads: Arrays


@dataclass(frozen=True)
class Heard:
    """An answer to a contribution, at a moment of the clock."""

    round: int
    worker: str
    epoch: int
    time: float
    status: int
    document: Mapping[str, Any]


class WorkerProcess:
    """A worker that may be killed and starts again in another life, with the same log."""

    def __init__(self, orders: Mapping[str, Any], name: str, folder: Path) -> None:
        self.name = name
        self._orders = orders
        self._log = folder / f"{name}.log"
        self._errors = folder / f"{name}.errors"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, seed: int) -> None:
        orders = Orders(worker=self.name, seed=seed, log=str(self._log), **self._orders)
        command = [sys.executable, round_worker.__file__, json.dumps(orders._asdict())]
        with self._errors.open("ab") as errors:
            self._process = tied(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)

    def kill(self) -> None:
        """Kill the process with SIGKILL; do nothing if it has ended."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def has_ended(self) -> bool:
        """Return whether it has done all rounds. Raises `AssertionError` with what it met if it failed."""
        assert self._process
        status = self._process.poll()
        assert not status, self._errors.read_text()
        return status == 0

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.endswith("}")]

    def sent(self) -> Iterator[Sent]:
        for event in self.events():
            if event["event"] == "sends":
                grads = decode(base64.b64decode(event["body"]), "grads")[0]
                yield Sent(event["round"], self.name, event["epoch"], event["time"], event["weight"], grads)

    def heard(self) -> Iterator[Heard]:
        for event in self.events():
            if event["event"] == "answered":
                yield Heard(event["round"], self.name, event["epoch"], event["time"], event["status"], event)


class Crew:
    """All workers of a session."""

    def __init__(self, names: Sequence[str], folder: Path, chance: random.Random, **orders: Any) -> None:
        self.workers = [WorkerProcess(orders, name, folder) for name in names]
        self._chance = chance

    def __enter__(self) -> Self:
        for worker in self.workers:
            self.start(worker)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()

    def start(self, worker: WorkerProcess) -> None:
        worker.start(self._chance.randrange(1 << 32))

    def have_ended(self) -> bool:
        ended = [worker.has_ended() for worker in self.workers]
        return all(ended)

    def sent(self) -> dict[tuple[int, str, int], Sent]:
        """Return all contributions by round, worker and epoch."""
        return {(one.round, one.worker, one.epoch): one for worker in self.workers for one in worker.sent()}

    def heard(self) -> list[Heard]:
        return [one for worker in self.workers for one in worker.heard()]
