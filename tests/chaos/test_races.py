"""Races of eight clients for a step of one session on two servers: one wins, and the state is right to the bit."""

import json
from collections import Counter

import pytest

from tests.chaos.race import Race
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess
from tests.durability.twin import Twin
from tests.durability.wire import Wire, code_of, was_replayed

CLIENTS = 8


@pytest.mark.requirement("R7", "R2")
def test_a_race_has_one_winner(trial: Trial, pair: list[ServerProcess]) -> None:
    ports = [server.port for server in pair]
    with Race(ports * (CLIENTS // 2)) as race, Wire(ports[0]) as wire:
        for i in range(trial.times(quick=2, whole=100)):
            twin = Twin(wire, hold_params=i % 2 == 1, rows=1)
            for _ in range(trial.times(quick=12, whole=100)):
                race_for_a_step(race, twin, trial)
                if trial.random.random() < 0.1:
                    race_of_one_request(race, twin, trial)
            twin.check(wire)
            trial.tried["sessions that end equal to a local replay"] += 1


def race_for_a_step(race: Race, twin: Twin, trial: Trial) -> None:
    """Send different gradients for one step: one client wins, the others get a conflict."""
    number = twin.state.t + 1
    grads = [twin.grads(trial.random.randrange(1 << 32)) for _ in range(CLIENTS)]
    answers = race.send([twin.request(g) for g in grads])
    assert Counter(map(code_of, answers)) == {None: 1, "step_conflict": CLIENTS - 1}
    winner = next(i for i, answer in enumerate(answers) if answer.status == 200)
    for loser in answers[:winner] + answers[winner + 1 :]:
        assert loser.status == 409
        assert loser.headers["x-should-retry"] == "false"
        assert json.loads(loser.body)["current_step"] == number
    twin.take(answers[winner], grads[winner])
    trial.tried["races"] += 1
    trial.tried["answers 200"] += 1
    trial.tried["answers 409"] += CLIENTS - 1


def race_of_one_request(race: Race, twin: Twin, trial: Trial) -> None:
    """Send one request from all clients: it is done once, and all get the same answer."""
    answers = race.send([twin.request()] * CLIENTS)
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert Counter(map(was_replayed, answers)) == {False: 1, True: CLIENTS - 1}
    twin.take(answers[0])
    trial.tried["races of one request"] += 1
