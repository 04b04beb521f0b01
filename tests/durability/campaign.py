"""What takes too long for `make test`: `make durability`, some twenty minutes."""

import time
from collections import Counter

from tests.durability.kills import at_any_moment, draw, moment, train_through_kills
from tests.durability.processes import ServerProcess
from tests.durability.twin import Twin
from tests.durability.wire import Wire, assert_replay


def test_training_goes_on_through_a_kill_at_every_step(server: ServerProcess) -> None:
    train_through_kills(server, steps=200, kills=200)


def test_a_state_of_many_pieces_is_saved_wholly_or_not_at_all(server: ServerProcess) -> None:
    """96 MB: more than a transaction of LMDB takes, and several batches of Redis."""
    chance, happened = draw(), Counter[str]()
    with Wire(server.port) as wire:
        twin = Twin(wire, hold_params=True, rows=20_000)
        for _ in range(40):
            request, started = twin.request(), time.perf_counter()
            twin.take(wire.send(request))
            usual = time.perf_counter() - started
            request = twin.request()
            answer, what = at_any_moment(server, wire, request, moment(chance, usual))
            happened[what] += 1
            assert_replay(wire.send(request), answer)
            twin.take(answer)
        twin.check(wire)
    print(f"killed: {dict(happened)}")
