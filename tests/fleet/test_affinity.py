"""Affinity: the requests for a session go to one replica, and to another one when that has died."""

import re
from collections import Counter
from urllib.request import urlopen

import numpy as np
from optim_client import Client

from tests.durability.processes import ServerProcess
from tests.fleet.balancer import Balancer

SESSIONS, STEPS = 9, 3
W = {"w": np.zeros(2, np.float32)}
APPLIED = re.compile(r'^optim_steps_total\{outcome="applied"\} (\d+)', re.MULTILINE)


def steps_of(replica: ServerProcess) -> int:
    """Return the number of steps that a replica has taken."""
    with urlopen(f"{replica.url}/metrics") as answer:
        found = APPLIED.search(answer.read().decode())
    return int(found[1]) if found else 0


def takers(client: Client, ids: list[str], replicas: list[ServerProcess]) -> dict[str, ServerProcess]:
    """Step each session; return the one replica that took its steps."""
    found = {}
    for each in ids:
        before = {replica: steps_of(replica) for replica in replicas}
        for _ in range(STEPS):
            client.sessions.get(each).step(W, W)
        grown = {replica: steps_of(replica) - before[replica] for replica in replicas}
        (found[each],) = [replica for replica, steps in grown.items() if steps]
        assert grown[found[each]] == STEPS
    return found


def test_a_session_keeps_its_replica_until_that_dies(front: Balancer, replicas: list[ServerProcess]) -> None:
    with Client(front.url) as client:
        ids = [client.sessions.create("sgd").id for _ in range(SESSIONS)]
        first = takers(client, ids, replicas)
        counts = Counter(first.values())
        assert len(counts) > 1, "nine sessions hash to one of three replicas once in 6,561 times"
        (gone, _), *_ = counts.most_common()
        gone.kill()
        left = [replica for replica in replicas if replica is not gone]
        moved = takers(client, ids, left)
        assert all(moved[each] is first[each] for each in ids if first[each] is not gone)
