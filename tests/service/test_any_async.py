"""Random sequences of asynchronous contributions, crashes and faults: steps and fates are those of the oracles."""

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from app.store.base import Store
from tests.amounts import times
from tests.oracle_rounds import Contribution
from tests.service import any_requests as any_of
from tests.service.any_processes import play
from tests.service.any_requests import faults, seeds
from tests.service.any_rounds import WORKERS, Asked, Workers, answered, some_rule
from tests.service.round_session import AsyncSession
from tests.stores import STORES


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Return the body of a creation: most rules, in the asynchronous mode."""
    about = {"max_staleness": draw(st.sampled_from([8, 1, 0])), "staleness": draw(st.sampled_from(["reject", "scale"]))}
    return {**draw(some_rule()), "on_non_finite": "reject", "workers": {"mode": "async", **about}}


class Requests(Workers):
    """All that workers ask in the asynchronous mode, in any order."""

    model = AsyncSession

    @initialize(name=st.sampled_from(list(STORES)), body=settings(), dtype=any_of.dtypes, seed=seeds, fault=faults)
    def open(self, name: str, body: dict[str, Any], dtype: type[Any], seed: int, fault: int | None) -> None:
        self.begin(name, body, dtype, seed, fault)

    def asked(self, data: st.DataObject) -> Asked:
        """Return a contribution of any worker that has an epoch, mostly under its next number."""
        (worker, epoch), rounds = self.worker(data), self.session.rounds
        last = rounds.turns[worker].seq if worker in rounds.turns else 0
        seq = max(1, last + data.draw(st.sampled_from([1, 1, 1, 1, 3, 0, -1])))
        base = max(0, rounds.step - data.draw(st.sampled_from([0, 0, 0, 1, 2])))
        grads, is_finite = self.gradients(data)
        return self.kept(Asked(seq, Contribution(worker, epoch, 1.0, b"", is_finite, base, seq), grads))

    def push(self, asked: Asked, fault: int | None = None) -> None:
        """Send a contribution; compare the answer with the oracle's."""
        rounds, one = self.session.rounds, asked.one
        path = f"{self.session.path}/contributions/{one.worker}/{one.seq}"
        answer = self.send("PUT", path, fault, **asked.content())
        expected = rounds.push(one)
        assert answered(answer) == expected, answer.text
        if expected.status == 200 and rounds.turns[one.worker] is rounds.past[rounds.step].waiting.get(one.worker):
            self.is_step(answer, rounds.step)

    @rule(worker=st.sampled_from(WORKERS), fault=faults)
    def join(self, worker: str, fault: int | None) -> None:
        self.joined(worker, fault)

    @rule(worker=st.sampled_from(WORKERS), fault=faults)
    def leave(self, worker: str, fault: int | None) -> None:
        self.write(204, "DELETE", f"{self.session.path}/workers/{worker}", fault)
        self.session.rounds.roster.leave(worker)

    @rule(data=st.data(), count=st.integers(1, 4))
    def contribute(self, data: st.DataObject, count: int) -> None:
        """Send some contributions, of which some come later."""
        for _ in range(count):
            asked = self.asked(data)
            if data.draw(st.sampled_from([False, False, False, True])):
                self.late.append(asked)
            else:
                self.told.append(asked)
                self.push(asked, data.draw(faults))

    @precondition(lambda self: self.late)
    @rule(data=st.data(), fault=faults)
    def come_late(self, data: st.DataObject, fault: int | None) -> None:
        asked = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
        self.told.append(asked)
        self.push(asked, fault)

    @precondition(lambda self: self.told)
    @rule(data=st.data(), fault=faults)
    def come_again(self, data: st.DataObject, fault: int | None) -> None:
        self.push(data.draw(st.sampled_from(self.told)), fault)

    @rule()
    def crash_now(self) -> None:
        self.crash()

    @invariant()
    def all_is_as_the_oracle_says(self) -> None:
        self.check()


@pytest.mark.campaign
@pytest.mark.long
def test_any_order_of_asynchronous_steps_gives_what_the_oracle_says(
    stores: dict[str, Store], runner: asyncio.Runner
) -> None:
    play(Requests, stores, runner, examples=times(quick=4, whole=200), steps=15)
