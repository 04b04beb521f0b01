"""A local replay of rounds: the engine takes exactly the contributions that the ledger calls applied.

The mean is made here, apart from the service's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from optim_client._protocol import Request
from optim_client._tensors import Arrays, decode

from optim_engine import Config, State, step
from tests.chaos.round_crew import Heard, Sent
from tests.durability.twin import bits
from tests.durability.wire import Wire
from tests.service.engine_session import EngineSession

Place = tuple[int, str, int]
"""The round, worker and epoch of a contribution."""
Ledger = dict[str, Any]
"""The answer of `GET …/rounds/{r}`."""


class Replay:
    """A session of held parameters whose rounds are taken here, after they were taken by the service."""

    def __init__(self, settings: Mapping[str, Any], params: Arrays) -> None:
        config = Config.parse(**settings)
        self.session = EngineSession("", config, 0, params, State.empty().with_params(params))

    def take(self, ledger: Ledger, sent: Mapping[Place, Sent]) -> Arrays:
        """Take a round as the ledger has it; return the parameters after it."""
        number = ledger["round"]
        applied = [row for row in ledger["contributions"] if row["fate"] == "applied"]
        assert len({row["worker"] for row in applied}) == len(applied), "one worker was applied twice"
        these = [sent[number, row["worker"], row["epoch"]] for row in applied]
        assert [row["weight"] for row in applied] == [one.weight for one in these]
        outcome = step(self.session.config, self.session.state, {}, mean_of(these))
        self.session.state = outcome.state
        assert (ledger["step"], ledger["digest"]) == (number, self.session.digest), f"round {number} differs"
        return dict(outcome.params)

    def check(self, wire: Wire, path: str) -> None:
        """Assert that the service holds the same moments and parameters, to the bit."""
        state = wire.send(Request("GET", f"{path}/state")).body
        for slot in ("m", "v", "params"):
            kept = {name: self.session.state.array(name, slot) for name in self.session.state.entries}
            assert bits(decode(state, slot)[0]) == bits(kept)


def mean_of(sent: Sequence[Sent]) -> Arrays:
    """Return the mean by weight: float64 sums in the order of the names, rounded once."""
    sent = sorted(sent, key=lambda one: one.worker.encode())
    whole = float(sent[0].weight)
    total = {name: one_of(sent[0], name) for name in sent[0].grads}
    for one in sent[1:]:
        whole += one.weight
        total = {name: array + one_of(one, name) for name, array in total.items()}
    return {name: (array / whole).astype(np.float32) for name, array in total.items()}


def one_of(one: Sent, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return one.weight * one.grads[name].astype(np.float64)


def check_fates(ledgers: Mapping[int, Ledger], sent: Mapping[Place, Sent], heard: Sequence[Heard]) -> None:
    """Assert that each contribution has one fate, and the one that its worker was told of."""
    fates = {number: Counter(fates_of(ledger)) for number, ledger in ledgers.items()}
    for number, found in fates.items():
        assert set(found.values()) <= {1}, f"a contribution to round {number} has two fates: {found}"
        assert {(number, worker, epoch) for worker, epoch, *_ in found} <= sent.keys()
    for one in heard:
        kept = {fate: reason for worker, epoch, fate, reason in fates[one.round] if (worker, epoch) == name_of(one)}
        match one.status, one.document.get("code"):
            case ((200 | 202), _):
                assert kept == {"applied": None}, f"an accepted contribution was lost: {one}"
            case 409, "round_closed":
                is_in = any(name == one.worker and epoch != one.epoch for name, epoch, *_ in fates[one.round])
                assert kept == {"dropped": "late"} or (is_in and not kept), f"{one}: {kept}"
            case 409, "worker_fenced":
                assert kept == {"dropped": "fenced"}, one


def name_of(one: Heard) -> tuple[str, int]:
    return one.worker, one.epoch


def fates_of(ledger: Ledger) -> list[tuple[str, int, str, str | None]]:
    return [(row["worker"], row["epoch"], row["fate"], row.get("reason")) for row in ledger["contributions"]]


def check_answers(heard: Sequence[Heard], params: Mapping[int, Arrays]) -> int:
    """Assert that all answers with parameters have those of their step here; return how many had."""
    count = 0
    for one in heard:
        if told := one.document.get("params"):
            ours = {name: sha256(array.tobytes()).hexdigest() for name, array in params[one.document["step"]].items()}
            assert told == ours, one
            count += 1
    return count
