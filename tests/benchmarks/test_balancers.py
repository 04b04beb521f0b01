"""The steps by several ways; `tests/fleet` has the balancers."""

import os

import pytest

from benchmarks.balancers import DIRECT, Way, steps_by, told
from benchmarks.peers.service import Service
from benchmarks.timing import Spread


@pytest.mark.long
def test_each_way_takes_the_same_number_of_steps(service: Service) -> None:
    times, steps = steps_by({DIRECT: Way(service.port), "another": Way(service.port)}, 1_000, rounds=3)
    assert steps == 3 + 3
    assert {name: spread.rounds for name, spread in times.items()} == {DIRECT: 3, "another": 3}


def test_a_ways_cpu_time_is_that_of_its_processes() -> None:
    assert Way(0).cpu() == 0
    assert Way(0, [os.getpid()]).cpu() > 0


def test_cpu_time_is_told_by_step_and_by_gigabyte() -> None:
    spread = Spread(2.0, 1.0, 3.0, 9)
    assert told(spread, 0.0, 10, 80_000_000) == "2.00 ms (1.00 to 3.00)"
    assert told(spread, 0.8, 10, 80_000_000) == "2.00 ms (1.00 to 3.00), 80.000 ms of CPU in between, 1.00 s for 1 GB"
