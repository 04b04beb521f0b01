"""Requests of many workers, in a machine of two processes: the base of the machine in test_any_rounds.py."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx2
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from optim_client._gradients import parts_of
from optim_client._tensors import decode

from app.contributions.keeper import Keeper
from app.store.base import Store
from optim_engine import Config
from tests.bodies import encode
from tests.engine.cases import DTYPES, RULES, same_bits
from tests.oracle_rounds import Answer, Contribution, Fate
from tests.service import any_requests as any_of
from tests.service.any_processes import TwoProcesses
from tests.service.any_requests import faults, seeds
from tests.service.calls import SAFETENSORS, path_of
from tests.service.round_session import RoundSession
from tests.stores import STORES

WORKERS = ("b", "a", "B-1", "a.2")
START = 1_000_000.0


class Clock:
    """The clock of a store, which a test sets."""

    def __init__(self) -> None:
        self.time = START

    async def __call__(self) -> float:
        return self.time


class Asked(NamedTuple):
    """A contribution as it is sent to a round."""

    round: int
    one: Contribution
    grads: Mapping[str, Any]

    def content(self) -> dict[str, Any]:
        """Return the body and the headers of the request."""
        one, parts = self.one, parts_of(self.grads)
        metadata = {"epoch": str(one.epoch), "weight": repr(one.weight)}
        metadata |= {} if one.base_step is None else {"base_step": str(one.base_step)}
        return {
            "content": encode({"grads": parts.floats}, metadata, parts.others),
            "headers": {"content-type": SAFETENSORS},
        }


@st.composite
def some_rule(draw: st.DrawFn) -> dict[str, Any]:
    """Return the settings of a session of held parameters, with most rules."""
    case = draw(st.sampled_from([case for case in RULES if case.optimizer != "muon"]))
    return {
        "optimizer": case.optimizer,
        "hyperparameters": dict(case.hyperparameters),
        "hold_params": True,
        "clip": draw(st.sampled_from(any_of.CLIPS)),
    }


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Return the body of a creation: most rules, with rounds of all kinds."""
    expected = draw(st.sampled_from([3, 4, 2, 1]))
    aggregate = draw(st.sampled_from([{}, {}, {"aggregate": "mean_of_sums"}, *ROBUST]))
    return {
        **draw(some_rule()),
        "on_non_finite": draw(st.sampled_from(["skip", "reject"])),
        "workers": {
            "mode": "rounds",
            "expected": expected,
            "quorum": draw(st.sampled_from([expected, 1, max(1, expected - 1)])),
            "deadline_seconds": 60.0,
            "grace_seconds": draw(st.sampled_from([2.0, 90.0, 0.0])),
            "max_staleness": draw(st.sampled_from([0, 1])),
            **aggregate,
        },
    }


ROBUST: list[dict[str, Any]] = [
    {"aggregate": "clipped_mean", "max_norm": 1.5},
    {"aggregate": "median"},
    {"aggregate": "trimmed_mean", "trim": 0.3},
]
dtypes = st.sampled_from(["float64", *DTYPES]).map(DTYPES.__getitem__)
"""Mostly float64: of few float32, the sum in float64 is nearly always exact, whatever their order."""
jumps = st.sampled_from([1.0, 2.5, 30.0, 61.0, 0.1, -20.0])
"""Seconds by which the store's clock jumps."""


class Workers(TwoProcesses):
    """One session of many workers on any of the stores."""

    stores: Mapping[str, Store]
    model: type[RoundSession]

    def __init__(self) -> None:
        super().__init__()
        self.late: list[Asked] = []
        """Contributions that are still on their way."""
        self.told: list[Asked] = []
        """Contributions that have come, some of which come again."""

    def begin(self, name: str, body: dict[str, Any], dtype: type[Any], seed: int, fault: int | None) -> None:
        """Start on one of the stores with a session and most of its workers."""
        self.store = self.stores[name]
        self.crash()
        path = path_of(self.write(201, "POST", "/v1/sessions", fault, json=body))
        params = dict(sorted(any_of.params_of(dtype, seed).items()))
        content = encode({"params": params}, {})
        self.write(204, "PUT", f"{path}/params", fault, content=content, headers={"content-type": SAFETENSORS})
        config = Config.parse(**{name: value for name, value in body.items() if name != "workers"})
        self.session = self.model(path, config, body["workers"], params)
        for worker in WORKERS[:3]:
            self.joined(worker, None)

    def teardown(self) -> None:
        try:
            self.crash()
            self.check()
        finally:
            self.send("DELETE", self.session.path)

    def joined(self, worker: str, fault: int | None) -> None:
        answer = self.write(201, "PUT", f"{self.session.path}/workers/{worker}", fault, json={})
        self.session.rounds.roster.join(worker, answer.json()["epoch"])

    def gradients(self, data: st.DataObject) -> tuple[dict[str, Any], bool]:
        """Return gradients of all kinds, and whether they are finite."""
        engine, seed = self.session.engine, data.draw(seeds)
        names, is_finite = data.draw(any_of.names), data.draw(st.sampled_from([True] * 9 + [False]))
        grads = {name: any_of.gradient(engine, name, data.draw(any_of.kinds), seed + i) for i, name in enumerate(names)}
        if not is_finite:
            grads[names[0]] = any_of.not_finite(any_of.gradient(engine, names[0], "dense", seed))
        return grads, is_finite

    def worker(self, data: st.DataObject) -> tuple[str, int]:
        """Return a worker that has joined, and its epoch or sometimes one before."""
        epochs = self.session.rounds.roster.epochs
        worker = data.draw(st.sampled_from(sorted(epochs) or ["nobody"]))
        return worker, max(1, epochs.get(worker, 1) - data.draw(st.sampled_from([0] * 9 + [1])))

    def kept(self, asked: Asked) -> Asked:
        """Keep the gradients of a contribution under its body, which has all but its epoch."""
        body = asked._replace(one=asked.one._replace(epoch=0)).content()["content"]
        self.session.sent[body] = self.session.dense(asked.grads)
        return asked._replace(one=asked.one._replace(body=body))

    def differences(self) -> list[str]:
        """Return the arrays of the state that are not the engine's."""
        file, state = self.expect(200, "GET", f"{self.session.path}/state").content, self.session.engine.state
        found = {slot: decode(file, slot)[0] for slot, _, _ in state.arrays()}
        return [
            f"{slot}/{name}" for slot, name, array in state.arrays() if array.tobytes() != found[slot][name].tobytes()
        ]

    def check(self) -> None:
        """Assert that the session, and the fates of all contributions to its steps, are the oracle's."""
        engine, rounds = self.session.engine, self.session.rounds
        document = self.expect(200, "GET", self.session.path).json()
        assert (document["step"], document["digest"]) == (rounds.step, engine.digest), self.differences()
        for number in range(1, rounds.step + 1):
            ledger = self.ledger(number)
            assert (ledger["state"], ledger["digest"]) == ("applied", self.session.digests[number])

    def ledger(self, number: int) -> dict[str, Any]:
        """Return a round, whose fates are the oracle's."""
        ledger: dict[str, Any] = self.expect(200, "GET", f"{self.session.path}/rounds/{number}").json()
        assert Counter(map(fate_of, ledger["contributions"])) == Counter(self.session.rounds.fates(number))
        return ledger

    def is_step(self, answer: httpx2.Response, number: int) -> None:
        """Assert that a contribution was answered with its step."""
        params, about = decode(answer.content, "params")
        rows, _ = decode(answer.content, "rows")
        held = {name: self.session.engine.state.array(name, "params")[rows.get(name, ...)] for name in params}
        assert (about["step"], about["digest"]) == (str(number), self.session.digests[number])
        assert same_bits(params, held)


class Rounds(Workers):
    """A session whose workers work in rounds."""

    model = RoundSession
    clock: Clock
    runner: asyncio.Runner

    @initialize(name=st.sampled_from(list(STORES)), body=settings(), dtype=dtypes, seed=seeds, fault=faults)
    def open(self, name: str, body: dict[str, Any], dtype: type[Any], seed: int, fault: int | None) -> None:
        self.clock.time = START
        self.begin(name, body, dtype, seed, fault)

    def asked(self, data: st.DataObject) -> Asked:
        """Return a contribution of any worker that has an epoch, to the open round or one beside it."""
        worker, epoch = self.worker(data)
        number = max(1, self.session.rounds.step + 1 + data.draw(st.sampled_from([0] * 9 + [-1, 1])))
        lag = data.draw(st.sampled_from([None, None, None, 1, 2, 3]))
        return self.drawn(data, number, worker, epoch, None if lag is None else max(0, number - lag))

    def drawn(self, data: st.DataObject, number: int, worker: str, epoch: int, base: int | None = None) -> Asked:
        """Return a contribution of a worker to a round."""
        session = self.session
        is_weighed = session.workers["aggregate"] not in ("median", "trimmed_mean")
        weight = float(data.draw(st.sampled_from([1, 1, 3, 0.1] if is_weighed else [1])))
        grads, is_finite = self.gradients(data)
        return self.kept(Asked(number, Contribution(worker, epoch, weight, b"", is_finite, base), grads))

    def push(self, asked: Asked, fault: int | None = None) -> None:
        """Send a contribution; compare the answer with the oracle's."""
        rounds, one = self.session.rounds, asked.one
        path = f"{self.session.path}/rounds/{asked.round}/contributions/{one.worker}"
        answer = self.send("PUT", path, fault, **asked.content())
        expected = [rounds.push(self.clock.time, asked.round, one)]
        if fault:
            expected.append(rounds.push(self.clock.time, asked.round, one))
        assert answered(answer) in expected, (answer.text, expected)
        if answer.status_code == 202:
            self.is_open(answer.json())
        elif answer.status_code == 200 and asked.round < rounds.step:
            assert answer.json() == {"round": asked.round, "fate": "applied", "step": asked.round}
        elif answer.status_code == 200:
            self.is_step(answer, asked.round)
        if rounds.is_due(self.clock.time):  # who was refused may have noticed
            self.look()

    def look(self) -> None:
        """Let one process look for rounds that are due, and wait for what is closed then."""
        self.runner.run(self._looked())
        self.session.rounds.look(self.clock.time)

    async def _looked(self) -> None:
        keeper = Keeper(self.store, self.apps[0].state.service.keeper._close, lambda _: True)
        await keeper.look()
        await asyncio.gather(*keeper._closing.values())

    def is_open(self, document: Mapping[str, Any]) -> None:
        """Assert that a document tells of the open round what the oracle says."""
        rounds = self.session.rounds
        found = document["round"], document["state"], document["have"], document["need"]
        assert found == (rounds.step + 1, "open", rounds.have, rounds.need)
        if rounds.closes_at is None:
            assert document["closes_at"] is None
        else:
            assert document["closes_at"] is not None

    def check(self) -> None:
        super().check()
        self.is_open(self.ledger(self.session.rounds.step + 1))


def answered(answer: httpx2.Response) -> Answer:
    """Return an answer as the oracle has it."""
    return Answer(answer.status_code, answer.json()["code"] if answer.status_code >= 400 else None)


def fate_of(row: Mapping[str, Any]) -> Fate:
    return Fate(row["worker"], row["epoch"], row["weight"], row["fate"], row.get("reason"))
