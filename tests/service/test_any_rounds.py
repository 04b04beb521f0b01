"""Random sequences of what many workers ask, crashes, faults and jumps of the clock: fates, numbers and digests are the
oracles', on every store."""

import asyncio

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from app.store.base import Store
from tests.amounts import times
from tests.oracle_rounds import Answer
from tests.service.any_processes import play
from tests.service.any_requests import faults
from tests.service.any_rounds import WORKERS, Clock, Rounds, answered, jumps
from tests.service.engine_session import new_key


class Requests(Rounds):
    """All that workers ask, in any order."""

    @rule(worker=st.sampled_from(WORKERS), fault=faults)
    def join(self, worker: str, fault: int | None) -> None:
        self.joined(worker, fault)

    @rule(worker=st.sampled_from(WORKERS), older=st.booleans())
    def renew(self, worker: str, older: bool) -> None:
        roster = self.session.rounds.roster
        epoch = max(1, roster.epochs.get(worker, 1) - older)
        answer = self.send("PUT", f"{self.session.path}/workers/{worker}", json={"epoch": epoch})
        assert answered(answer) == roster.renew(worker, epoch)

    @rule(worker=st.sampled_from(WORKERS), fault=faults)
    def leave(self, worker: str, fault: int | None) -> None:
        self.write(204, "DELETE", f"{self.session.path}/workers/{worker}", fault)
        self.session.rounds.roster.leave(worker)

    @rule(data=st.data(), count=st.integers(1, 4))
    def contribute(self, data: st.DataObject, count: int) -> None:
        """Send some contributions."""
        for _ in range(count):
            asked = self.asked(data)
            self.told.append(asked)
            self.push(asked, data.draw(faults))

    @rule(data=st.data())
    def contribute_all(self, data: st.DataObject) -> None:
        """Let all workers contribute to the open round, in any order."""
        rounds = self.session.rounds
        number, workers = rounds.step + 1, data.draw(st.permutations(sorted(rounds.roster.epochs)))
        for worker in workers:
            self.told.append(self.drawn(data, number, worker, rounds.roster.epochs[worker]))
            self.push(self.told[-1], data.draw(faults))

    @rule(data=st.data())
    def delay(self, data: st.DataObject) -> None:
        """Prepare a contribution that comes later, perhaps when its round is closed or its worker is fenced."""
        self.late.append(self.asked(data))

    @precondition(lambda self: self.late)
    @rule(data=st.data(), fault=faults)
    def come_late(self, data: st.DataObject, fault: int | None) -> None:
        asked = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
        self.told.append(asked)
        self.push(asked, fault)

    @precondition(lambda self: self.told)
    @rule(data=st.data(), fault=faults)
    def come_again(self, data: st.DataObject, fault: int | None) -> None:
        """Send the same contribution again, which its worker may do in a newer epoch."""
        asked = data.draw(st.sampled_from(self.told))
        newest = self.session.rounds.roster.epochs.get(asked.one.worker, asked.one.epoch)
        epoch = data.draw(st.sampled_from([asked.one.epoch, newest]))
        self.push(asked._replace(one=asked.one._replace(epoch=epoch)), fault)

    @rule(fault=faults, offset=st.sampled_from([0, 0, 0, -1, 1]))
    def close(self, fault: int | None, offset: int) -> None:
        rounds = self.session.rounds
        number = max(1, rounds.step + 1 + offset)
        headers = {"idempotency-key": f'"{new_key()}"'}
        answer = self.send("POST", f"{self.session.path}/rounds/{number}/close", fault, headers=headers)
        assert answered(answer) == rounds.close(number)

    @rule(seconds=jumps)
    def jump(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule()
    def look_now(self) -> None:
        self.look()

    @rule()
    def crash_now(self) -> None:
        self.crash()

    @rule(verb=st.sampled_from(["step", "undo", "put"]))
    def refuse(self, verb: str) -> None:
        """Ask what such a session does not do."""
        path, is_open = self.session.path, self.session.rounds.have > 0
        asked = {
            "step": ("POST", f"{path}/steps", {"grads": {"layer.bias": [1.0] * 4}}),
            "undo": ("POST", f"{path}/undo", {"step": max(1, self.session.rounds.step)}),
            "put": ("PUT", f"{path}/params", {"params": {"layer.bias": [1.0] * 4}}),
        }
        method, path, body = asked[verb]
        answer = self.send(method, path, json=body)
        assert answered(answer) == Answer(409, "round_open" if is_open else "workers_only")

    @invariant()
    def all_is_as_the_oracle_says(self) -> None:
        self.check()


@pytest.fixture
def clock(stores: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have all stores go by one clock."""
    clock = Clock()
    for store in stores.values():
        monkeypatch.setattr(store, "now", clock)
    return clock


@pytest.mark.campaign
@pytest.mark.long
def test_any_order_of_contributions_gives_what_the_oracle_says(
    stores: dict[str, Store], runner: asyncio.Runner, clock: Clock
) -> None:
    play(Requests, stores, runner, examples=times(quick=6, whole=300), steps=20, clock=clock)
