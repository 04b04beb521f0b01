"""The CPU time of a server whose events are followed."""

import os
import time

import numpy as np
import pytest

from benchmarks import watched
from benchmarks.bare_client import BareClient, StepRequest
from benchmarks.peers.service import ROOM, SAFETENSORS, Service, body_of, held
from benchmarks.watched import Follower, cpu_a_step, cpu_seconds
from tests.benchmarks.test_peers import GRADS, START


@pytest.mark.long
def test_both_sessions_are_measured_in_turns(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "STEPS", 10)
    found = cpu_a_step(service, START, GRADS, blocks=3)
    assert list(found) == ["followed", "not followed"]
    assert all(spread.rounds == 3 and spread.median > 0 for spread in found.values())


@pytest.mark.long
def test_a_follower_counts_each_step_once(service: Service) -> None:
    with BareClient(service.port, START.nbytes + ROOM) as bare, held(bare, START) as path:
        request = StepRequest(f"{path}/steps", SAFETENSORS, body_of(GRADS))
        with Follower(service.port, path) as follower:
            for _ in range(30):
                bare.ask(request.next())
            follower.wait(30)
            assert follower.events == 30


@pytest.mark.long
def test_no_such_session_cannot_be_followed(service: Service) -> None:
    with pytest.raises(RuntimeError, match="404"):
        Follower(service.port, "/v1/sessions/none")


def test_cpu_seconds_count_work_and_not_sleep() -> None:
    start = cpu_seconds(os.getpid())
    time.sleep(0.2)
    slept = cpu_seconds(os.getpid())
    end = time.process_time() + 0.2
    while time.process_time() < end:
        np.ones(1000).sum()
    worked = cpu_seconds(os.getpid())
    assert slept - start < 0.1 < worked - slept
