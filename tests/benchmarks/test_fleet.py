"""The fleets that are measured: they count what they did."""

from pathlib import Path

import pytest

from benchmarks import fleet
from benchmarks.peers.fleet import Fleet, Run, median
from tests.benchmarks.test_peers import GRADS, START


@pytest.mark.long
def test_a_fleet_counts_steps_and_their_costs(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet", processes=1) as one:
        with one.loaded(4, START, GRADS) as run:
            figures = run(0.1)
        assert min(vars(figures).values()) > 0
        assert figures.store_bytes > GRADS.nbytes
        with one.stepped(START, GRADS) as run:
            assert run(0.05).rate > 0


@pytest.mark.long
def test_both_fleets_are_measured_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "SESSIONS", 4)
    monkeypatch.setattr(fleet, "FLEETS", {"one": (1, 1), "the same": (1, 1)})
    found = fleet.measured(rounds=2, seconds=0.1)
    assert all(len(found[name]) == 2 and min(run.rate for run in found[name]) > 0 for name in fleet.FLEETS)


def test_medians_are_taken_of_each_figure() -> None:
    runs = [Run(1.0, 9.0, 4.0, 1.0, 5.0), Run(3.0, 7.0, 4.0, 1.0, 6.0), Run(2.0, 8.0, 4.0, 1.0, 7.0)]
    assert median(runs) == Run(2.0, 8.0, 4.0, 1.0, 6.0)
