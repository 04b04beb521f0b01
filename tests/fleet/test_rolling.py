"""Rolling restarts behind a balancer, as an upgrade does them: one replica after another drains, stops and starts."""

import logging

import pytest

from tests.chaos.trial import Trial
from tests.durability.loop import Loop, running
from tests.durability.processes import ServerProcess
from tests.fleet.balancer import Balancer
from tests.fleet.retries import tell_retries


@pytest.mark.requirement("R22", "R14", "R2")
def test_a_rolling_restart_loses_no_step(
    trial: Trial, front: Balancer, replicas: list[ServerProcess], caplog: pytest.LogCaptureFixture
) -> None:
    loops = [Loop(), Loop(is_async=True), Loop(4_000), Loop(4_000, is_async=True)]
    with caplog.at_level(logging.WARNING, "optim_client"), running(loops, front.url) as training:
        for _ in range(trial.times(quick=1, whole=5)):
            for replica in replicas:
                training.wait_for_steps(2)
                replica.terminate()
                assert replica.wait() == 0, replica.log()
                training.wait_for_steps(2)
                replica.start()
                trial.tried["replicas restarted"] += 1
    trial.tried["steps"] += sum(loop.steps for loop in loops)
    tell_retries(trial, caplog)
