"""The timing of competitors in turn."""

import time
from collections import Counter
from itertools import groupby, pairwise

import pytest

from benchmarks import timing
from benchmarks.timing import BLOCK, WARM_UP, Spread, alone, in_turn


def test_each_competitor_runs_once_a_round_in_random_order() -> None:
    ran: list[str] = []
    names = "abc"
    spreads = in_turn({name: lambda name=name: ran.append(name) for name in names}, rounds=20)  # type: ignore[misc]
    rounds = [tuple(ran[i : i + len(names)]) for i in range(0, len(ran), len(names))]
    assert len(rounds) == WARM_UP + 20
    assert {tuple(sorted(order)) for order in rounds} == {("a", "b", "c")}
    assert len(Counter(rounds)) > 3
    assert {spread.rounds for spread in spreads.values()} == {20}


def test_a_longer_warm_up_is_not_counted() -> None:
    ran: list[int] = []
    spreads = in_turn({"a": lambda: ran.append(1)}, rounds=5, warm_up=20)
    assert (len(ran), spreads["a"].rounds) == (25, 5)


def test_each_work_starts_after_a_rest() -> None:
    started: list[float] = []
    in_turn({name: lambda: started.append(time.monotonic()) for name in "ab"}, rounds=5, rest=0.002)
    assert all(after - before >= 0.002 for before, after in pairwise(started))


def test_slow_work_gets_the_fewest_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONGEST_SECONDS", 0.0)
    assert timing.in_turn({"a": lambda: None}, rounds=20)["a"].rounds == timing.FEWEST_ROUNDS


def test_a_spread_is_the_median_and_both_tenths() -> None:
    assert Spread.of([float(n) for n in range(11)]) == Spread(median=5.0, p10=1.0, p90=9.0, rounds=11)


def test_competitors_alone_run_in_blocks_of_which_half_count() -> None:
    ran: list[str] = []
    spreads = alone({name: lambda name=name: ran.append(name) for name in "ab"}, rounds=BLOCK + 10)  # type: ignore[misc]
    blocks = [len(list(block)) for name, block in groupby(ran) if name == "a"]
    assert Counter(ran) == {"a": 2 * BLOCK + 20, "b": 2 * BLOCK + 20}
    assert blocks in ([2 * BLOCK, 20], [2 * BLOCK + 20])
    assert {spread.rounds for spread in spreads.values()} == {BLOCK + 10}
