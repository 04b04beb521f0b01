"""Kills of replicas behind a balancer: the clients go on with the others, and no step is lost or taken twice."""

import logging
import time

import pytest

from tests.chaos.trial import Trial
from tests.durability.loop import Loop, running
from tests.durability.processes import ServerProcess
from tests.fleet.balancer import Balancer
from tests.fleet.retries import tell_retries

LATEST_SECONDS = 0.3


@pytest.mark.requirement("R21", "R1", "R2")
def test_kills_of_replicas_lose_no_step(
    trial: Trial, front: Balancer, replicas: list[ServerProcess], caplog: pytest.LogCaptureFixture
) -> None:
    loops = [Loop(), Loop(is_async=True), Loop(4_000), Loop(4_000, is_async=True)]
    with caplog.at_level(logging.WARNING, "optim_client"), running(loops, front.url) as training:
        for _ in range(trial.times(quick=3, whole=100)):
            training.wait_for_steps(2)
            time.sleep(trial.random.uniform(0, LATEST_SECONDS))
            killed = trial.random.choice(replicas)
            killed.kill()
            trial.tried["kills"] += 1
            training.wait_for_steps(2)
            killed.start()
    trial.tried["steps"] += sum(loop.steps for loop in loops)
    tell_retries(trial, caplog)
