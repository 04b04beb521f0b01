"""Two replicas of the service on one Redis, behind one address: one dies or stops, and the training goes on."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.fault_proxy import FaultProxy
from tests.chaos.trial import Trial
from tests.durability.loop import Loop, Running, running
from tests.durability.processes import ServerProcess, servers
from tests.servers import RedisServer


def replace(trial: Trial, training: Running, proxy: FaultProxy, pair: list[ServerProcess], signal: str) -> None:
    """Take replicas away in turn, by a kill or by a stop after the address has moved, and start them again."""
    for _ in range(trial.times(quick=2, whole=10)):
        leaving, staying = pair
        training.wait_for_steps()
        if signal == "SIGTERM":
            proxy.move(staying.port)
            leaving.terminate()
            assert leaving.wait() == 0
        else:
            leaving.kill()
            proxy.move(staying.port)
        training.wait_for_steps()
        leaving.start()
        pair.reverse()


@pytest.mark.parametrize(
    "signal",
    [
        pytest.param("SIGKILL", marks=pytest.mark.requirement("R21", "R1", "R2")),
        pytest.param("SIGTERM", marks=pytest.mark.requirement("R22", "R14")),
    ],
)
async def test_a_replica_that_goes_loses_no_step(
    trial: Trial, own_redis: RedisServer, tmp_path: Path, signal: str
) -> None:
    loops = [Loop(), Loop(is_async=True)]

    def train(proxy: FaultProxy) -> None:
        with servers([own_redis.url] * 2, tmp_path) as pair:
            proxy.move(pair[0].port)
            with running(loops, f"http://127.0.0.1:{proxy.port}") as training:
                replace(trial, training, proxy, pair, signal)

    async with FaultProxy(0) as proxy:
        await asyncio.to_thread(train, proxy)
    trial.tried["replicas replaced"] += trial.times(quick=2, whole=10)
    trial.tried["steps"] += sum(loop.steps for loop in loops)
