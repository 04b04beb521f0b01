"""Rounds of many workers: kills of workers and servers, and bad connections, neither lose nor double a contribution."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import _calls
from optim_client._tensors import Arrays

from tests.amounts import WHOLE
from tests.bodies import in_one
from tests.chaos.fault_proxy import Fault, FaultProxy, Kind, Side
from tests.chaos.round_crew import Crew, Heard, Sent, WorkerProcess
from tests.chaos.round_replay import Ledger, Place, Replay, check_answers, check_fates
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess
from tests.durability.wire import Wire

DEADLINE_SECONDS = 1.0
MILLISECOND = 0.001
"""The unit of the times in the history."""
LATEST_SECONDS = DEADLINE_SECONDS + 1.0
SETTINGS: dict[str, Any] = {"optimizer": "adamw", "hyperparameters": {"lr": 0.01}, "hold_params": True}
SIZES = {"small": 400, "large": 400_000}
"""Elements of the largest tensor. A large contribution is two pieces, which are in the store before it is accepted."""
KINDS: Sequence[Kind] = ("cut", "reset", "delay", "black hole")
SIDES: Sequence[Side] = ("request", "answer")
DELAY_SECONDS = 0.3


@pytest.mark.requirement("R19", "R1", "R2", "R4")
@pytest.mark.parametrize("size", SIZES)
async def test_kills_and_cuts_lose_no_contribution(
    trial: Trial, pair: list[ServerProcess], size: str, tmp_path: Path
) -> None:
    is_small = size == "small"
    rounds = trial.times(quick=5, whole=200) if is_small else trial.times(quick=2, whole=20)
    count = trial.times(quick=3, whole=8) if is_small else trial.times(quick=2, whole=4)
    params = params_of(SIZES[size])
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(FaultProxy(server.port)) for server in pair]
        wire = stack.enter_context(Wire(pair[0].port))
        path = created(wire, count, params)
        sizes = {name: array.size for name, array in params.items()}
        names = [f"worker-{i}" for i in range(count)]
        ports = [proxy.port for proxy in proxies]
        orders = {"ports": ports, "session": path, "sizes": sizes, "last_round": rounds}
        crew = stack.enter_context(Crew(names, tmp_path, trial.random, **orders))
        await Disturber(trial, crew, pair, proxies, SIZES[size]).disturb_until_the_end(wire, path)
        ledgers = {number: ledger_of(wire, path, number) for number in range(1, rounds + 1)}
        check(trial, wire, path, crew, ledgers, Replay(SETTINGS, params))


class Disturber:
    """One who kills workers and servers, also both at once, and harms their connections, in each round anew."""

    def __init__(
        self, trial: Trial, crew: Crew, servers: Sequence[ServerProcess], proxies: Sequence[FaultProxy], size: int
    ) -> None:
        self.trial, self.crew, self.servers, self.proxies = trial, crew, servers, proxies
        self.chance = trial.random
        self.most_bytes = 15 * size
        """About what a worker sends and gets in a round; a fault strikes at one of these bytes."""
        harm = [self.harm_connections] * trial.times(quick=1, whole=3)
        self.doings = cycle([self.kill_both, *harm, self.kill_worker, *harm, self.kill_server, *harm])

    async def disturb_until_the_end(self, wire: Wire, path: str) -> None:
        seen = 0
        while not self.crew.have_ended():
            step = await asyncio.to_thread(lambda: wire.ask("GET", path)["step"])
            if step > seen:
                seen = step
                await asyncio.sleep(self.chance.uniform(0, 0.05))
                await next(self.doings)()
                wire.close()  # its server may be another one by now
            await asyncio.sleep(0.01)

    async def harm_connections(self) -> None:
        """Strike a worker's connection to a server, at some byte of what they say to each other."""
        kinds = KINDS if WHOLE else KINDS[:3]
        kind, side = self.chance.choice(kinds), self.chance.choice(SIDES)
        fault = Fault(kind, side, self.chance.randrange(self.most_bytes), seconds=DELAY_SECONDS)
        self.chance.choice(self.proxies).strike(fault)
        self.trial.tried[f"{kind}s in {side}s"] += 1

    async def kill_worker(self) -> None:
        with self.dead(self.chance.choice(self.crew.workers)):
            await asyncio.sleep(self.chance.uniform(0, 1.0 * WHOLE))

    async def kill_server(self) -> None:
        server = self.chance.choice(self.servers)
        server.kill()
        await asyncio.to_thread(server.start)
        self.trial.tried["kills of a server"] += 1

    async def kill_both(self) -> None:
        with self.dead(self.chance.choice(self.crew.workers)):
            await self.kill_server()

    @contextmanager
    def dead(self, worker: WorkerProcess) -> Iterator[None]:
        worker.kill()
        self.trial.tried["kills of a worker"] += 1
        yield
        self.crew.start(worker)


def params_of(size: int) -> Arrays:
    return {
        "layer.bias": np.linspace(-1, 1, 7, dtype=np.float32),
        "layer.weight": np.linspace(-2, 3, size, dtype=np.float32),
    }


def created(wire: Wire, workers: int, params: Arrays) -> str:
    """Create a session for so many workers, of whom half are a quorum; return its path."""
    about = {"expected": workers, "quorum": (workers + 1) // 2, "deadline_seconds": DEADLINE_SECONDS}
    session = wire.ask("POST", "/v1/sessions", {**SETTINGS, "workers": {**about, "grace_seconds": 60}}, 201)
    assert wire.send(in_one(_calls.put_params(session["id"], params).request)).status == 204
    return f"/v1/sessions/{session['id']}"


def ledger_of(wire: Wire, path: str, number: int) -> Ledger:
    document: Ledger = wire.ask("GET", f"{path}/rounds/{number}")
    assert document["state"] == "applied"
    return document


def check(trial: Trial, wire: Wire, path: str, crew: Crew, ledgers: Mapping[int, Ledger], replay: Replay) -> None:
    """Replay the rounds here; compare each with the ledger, with the answers of the workers and with the service."""
    sent, heard = crew.sent(), crew.heard()
    params = {number: replay.take(ledger, sent) for number, ledger in ledgers.items()}
    replay.check(wire, path)
    check_fates(ledgers, sent, heard)
    trial.tried["answers with the parameters of the replay"] += check_answers(heard, params)
    rows = wire.ask("GET", f"{path}/history?limit=10000")["history"]
    assert [row["step"] for row in rows] == list(ledgers)
    closed = {row["step"]: datetime.fromisoformat(row["time"]).timestamp() for row in rows}
    check_early(ledgers, sent, closed, len(crew.workers))
    longest = max(closed[number] - first for number, first in first_accepted(heard).items())
    trial.measured["longest round"] = f"{longest:.2f} s, with a deadline of {DEADLINE_SECONDS:g} s"
    if WHOLE:
        assert longest <= LATEST_SECONDS
    trial.tried["rounds"] += len(ledgers)
    trial.tried["contributions"] += len(sent)
    for ledger in ledgers.values():
        trial.tried.update(" ".join(filter(None, (row["fate"], row.get("reason")))) for row in ledger["contributions"])


def check_early(
    ledgers: Mapping[int, Ledger], sent: Mapping[Place, Sent], closed: Mapping[int, float], workers: int
) -> None:
    """Assert that no round was closed before its deadline without all workers."""
    for number, ledger in ledgers.items():
        applied = sum(row["fate"] == "applied" for row in ledger["contributions"])
        first = min(one.time for one in sent.values() if one.round == number)
        assert applied == workers or closed[number] - first >= DEADLINE_SECONDS - MILLISECOND, number


def first_accepted(heard: Sequence[Heard]) -> dict[int, float]:
    """Return when the first contribution to each round was answered as accepted."""
    first: dict[int, float] = {}
    for one in heard:
        if one.status == 202:
            first[one.round] = min(one.time, first.get(one.round, one.time))
    return first
