"""The linearizability checker, and the histories of sessions that it must accept."""

import itertools
import random
from collections.abc import Sequence
from typing import TypeAlias

import pytest

from tests.chaos.clients import BUSY, Clients, Session
from tests.chaos.linearizability import NotLinearizable, Operation, check
from tests.chaos.session_model import Answer
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess
from tests.durability.wire import Wire

Call: TypeAlias = tuple[str, int]
Seen: TypeAlias = Operation[Call, int]


def counter(state: int, call: Call) -> tuple[int, int]:
    """Apply a call to a counter, which can be read, set and added to; return its value twice: as state and answer."""
    verb, value = call
    after = {"read": state, "set": value, "add": state + value}[verb]
    return after, after


def done(verb: str, value: int, answer: int | None, called: float, returned: float = float("inf")) -> Seen:
    return Operation((verb, value), answer, called, returned)


LINEARIZABLE: dict[str, list[Seen]] = {
    "nothing": [],
    "one after the other": [done("add", 1, 1, 0, 1), done("read", 0, 1, 2, 3)],
    "a read beside a write sees the old": [done("set", 7, 7, 0, 9), done("read", 0, 0, 1, 2)],
    "a read beside a write sees the new": [done("set", 7, 7, 0, 9), done("read", 0, 7, 1, 2)],
    "the later call is the earlier one": [done("add", 1, 3, 0, 9), done("add", 2, 2, 1, 8)],
    "an unknown outcome that happened late": [
        done("set", 7, None, 0),
        done("read", 0, 0, 1, 2),
        done("read", 0, 7, 3, 4),
    ],
    "an unknown outcome that never happened": [done("set", 7, None, 0), done("read", 0, 0, 1, 2)],
    "an unknown outcome alone": [done("set", 7, None, 0)],
}

IMPOSSIBLE: dict[str, list[Seen]] = {
    "a stale read": [done("set", 7, 7, 0, 1), done("read", 0, 0, 2, 3)],
    "a lost update": [done("add", 1, 1, 0, 9), done("add", 1, 1, 0, 9), done("read", 0, 1, 10, 11)],
    "a double apply": [done("add", 1, 1, 0, 1), done("read", 0, 2, 2, 3)],
    "an unknown outcome that happened twice": [done("add", 1, None, 0), done("read", 0, 2, 1, 2)],
    "an unknown outcome that was undone": [
        done("set", 7, None, 0),
        done("read", 0, 7, 1, 2),
        done("read", 0, 0, 3, 4),
    ],
    "an effect before its call": [done("read", 0, 7, 0, 1), done("set", 7, 7, 2, 3)],
    "two readers who disagree about the order": [
        done("set", 1, 1, 0, 99),
        done("set", 2, 2, 0, 99),
        done("read", 0, 1, 10, 11),
        done("read", 0, 2, 12, 13),
        done("read", 0, 1, 14, 15),
    ],
}


@pytest.mark.parametrize("history", LINEARIZABLE.values(), ids=LINEARIZABLE)
def test_the_checker_accepts_a_linearizable_history(history: list[Seen]) -> None:
    check(counter, 0, history)


@pytest.mark.parametrize("history", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_the_checker_refuses_an_impossible_history(history: list[Seen]) -> None:
    with pytest.raises(NotLinearizable):
        check(counter, 0, history)


def test_a_refusal_names_the_unexplained_answer() -> None:
    with pytest.raises(NotLinearizable, match=r"in the state 7, .*\n  \('read', 0\) was answered 0, not 7"):
        check(counter, 0, IMPOSSIBLE["a stale read"])


def test_the_checker_agrees_with_trying_every_order() -> None:
    chance, taken = random.Random(1), 0
    for _ in range(400):
        history = [drawn(chance) for _ in range(4)]
        try:
            check(counter, 0, history)
            verdict = True
        except NotLinearizable:
            verdict = False
        assert verdict == tried_in_every_order(history), history
        taken += verdict
    assert 100 < taken < 300


def drawn(chance: random.Random) -> Seen:
    called, returned = sorted(chance.sample(range(12), 2))
    value = chance.randint(0, 2)
    if chance.random() < 0.2:
        return done("set", value, None, called)
    return done(chance.choice(["read", "set"]), value, value, called, returned)


def tried_in_every_order(history: Sequence[Seen]) -> bool:
    unknown = [seen for seen in history if seen.answer is None]
    known = [seen for seen in history if seen.answer is not None]
    happened = itertools.chain.from_iterable(itertools.combinations(unknown, n) for n in range(len(unknown) + 1))
    return any(explains(order) for some in happened for order in itertools.permutations([*known, *some]))


def explains(order: Sequence[Seen]) -> bool:
    state = 0
    for i, seen in enumerate(order):
        state, answer = counter(state, seen.call)
        if seen.answer not in (None, answer) or any(later.returned < seen.called for later in order[i:]):
            return False
    return True


# The service


@pytest.mark.requirement("R5")
@pytest.mark.long
def test_sessions_are_linearizable(trial: Trial, pair: list[ServerProcess]) -> None:
    with Clients([server.port for server in pair]) as clients, Wire(pair[0].port) as wire:
        for i in range(trial.times(quick=12, whole=1000)):
            session = Session(wire, hold_params=i % 2 == 1, chance=trial.random)
            history = clients.history(session, 50)
            busy = [seen for seen in history if seen.answer == (409, BUSY)]  # nothing was done
            history = [seen for seen in history if seen not in busy]
            check(session.model.apply, session.model.start, history)
            trial.tried["histories"] += 1
            trial.tried["operations"] += 50
            trial.tried.update(kind_of(seen.answer) for seen in history)


def kind_of(answer: Answer | None) -> str:
    if answer is None:
        return "unknown outcomes"
    return "steps answered again" if answer[-1] == "replayed" else f"answers {answer[0]}"
