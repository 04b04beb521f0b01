"""`kill -9` of a server under a step of every rule: each answer and each state is the engine's, to the bit.

The memory of a process ends with it, so the stores are those that outlive one.
"""

import json
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import Any

import pytest
from optim_client._protocol import Request, Response
from optim_client._tensors import decode

from optim_engine import Config, held_params
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess
from tests.durability.wire import LOST, Wire, assert_replay, bytes_of, was_replayed
from tests.engine.cases import DTYPES, RULES, same_bits
from tests.service import any_requests as any_of
from tests.service.calls import SAFETENSORS
from tests.service.engine_session import SHAPES, Asked, EngineSession, agree, agree_in_all, new_key
from tests.stores import DURABLE

BINARY = {"content-type": SAFETENSORS}
AGAIN, SAVED, ANSWERED = "steps sent again", "of them saved before", "of them answered before"
RESUMED = "sessions resumed from a state file"
MOST_COPIES = 40
"""Sessions that are made of state files."""
MORE: Sequence[dict[str, Any]] = (
    {"optimizer": "adamw", "hold_params": True, "groups": [{"match": ["emb"], "sparse": "lazy"}]},
    {"optimizer": "adam", "hold_params": True, "groups": [{"match": ["own"], "optimizer": "lion"}]},
    {"optimizer": "nadam", "hold_params": True, "average": {"decay": 0.9}},
    {"optimizer": "lamb", "undo": 3},
    {"optimizer": "prodigy", "hold_params": True, "undo": 3},
)
"""Sessions with a lazy table, a group with its own rule, an average, and steps that are undone."""


def bodies() -> list[dict[str, Any]]:
    """Return the settings of all sessions; half of them hold their parameters, and those of `muon` have two rules."""
    made = []
    for n, case in enumerate(RULES):
        is_muon = case.optimizer == "muon"
        body = {"optimizer": case.optimizer, "hyperparameters": dict(case.hyperparameters)}
        made.append(body | {"hold_params": is_muon or n // 2 % 2 == 0} | ({"groups": [any_of.REST]} if is_muon else {}))
    return [*made, *MORE]


class Trainings:
    """Trainings with both servers, whose requests take turns."""

    def __init__(self, trial: Trial, servers: Sequence[ServerProcess], wires: Sequence[Wire]) -> None:
        self.chance = trial.random
        self.tried = trial.tried
        self.servers = servers
        self.wires = wires
        self.requests = 0
        self.sessions: list[EngineSession] = []

    def create(self, body: dict[str, Any], dtype: type[Any]) -> None:
        content = json.dumps(body).encode()
        path = self.made(Request("POST", "/v1/sessions", headers={"content-type": "application/json"}, body=content))
        config = Config.parse(**{name: value for name, value in body.items() if name != "undo"})
        params = any_of.params_of(dtype, len(self.sessions))
        self.sessions.append(EngineSession(path, config, body.get("undo", 0), params))

    def made(self, request: Request) -> str:
        answer = self.send(request, 201)
        return f"/v1/{answer.headers['location']}"

    def send(self, request: Request, status: int = 200) -> Response:
        """Return the answer of the server whose turn it is."""
        self.requests += 1
        answer = self.wires[self.requests % 2].send(request)
        assert answer.status == status, answer.body
        return answer

    def read(self, path: str, **headers: str) -> bytes:
        return bytes(self.send(Request("GET", path, headers=headers)).body)

    def asked(self, session: EngineSession) -> Asked:
        """Return the session's next step, with a key: gradients of some kinds, for some tensors."""
        names = sorted(self.chance.sample(sorted(SHAPES), self.chance.randint(1, len(SHAPES))))
        kinds = ["dense", "rows", "top-k", "int8"]
        grads = {
            name: any_of.gradient(session, name, self.chance.choice(kinds), self.chance.randrange(1 << 32))
            for name in names
        }
        number = self.chance.choice([None, session.state.t + 1])
        return Asked(grads, session.unheld(names), number, new_key(), {})

    def take(self, session: EngineSession, asked: Asked) -> Response:
        """Send a step, for the first time or again, and compare its answer."""
        answer = self.send(request_of(session, asked))
        outcome = session.computed(asked)
        session.take(asked, outcome, bytes(answer.body))
        agree(bytes(answer.body), asked, outcome, session.digest)
        return answer

    def take_all(self) -> None:
        """Take a step of each session, and ask the other server for its answer again."""
        for session in self.sessions:
            asked = self.asked(session)
            answer = self.take(session, asked)
            assert_replay(self.send(request_of(session, asked)), answer)
            self.tried["steps"] += 1

    def take_all_under_a_kill(self) -> None:
        """Send one server a step of each session at once, kill it after one answer, and send all steps again.

        Every fourth lacks its last byte, so it cannot be saved. What was answered was saved.
        """
        victim, steps = self.chance.randrange(2), [(session, self.asked(session)) for session in self.sessions]
        self.chance.shuffle(steps)
        with ExitStack() as stack:
            address = "127.0.0.1", self.servers[victim].port
            clients = [stack.enter_context(socket.create_connection(address, 60)) for _ in steps]
            bodies = [b"".join(bytes_of(request_of(session, asked))) for session, asked in steps]
            for n, (client, body) in enumerate(zip(clients, bodies, strict=True)):
                client.sendall(body if n % 4 else body[:-1])
            self.chance.choice([client for n, client in enumerate(clients) if n % 4]).recv(1, socket.MSG_PEEK)
            self.servers[victim].kill()
            answers = [answer_of(client) for client in clients]
        self.tried["kills"] += 1
        self.wires[victim].close()
        self.servers[victim].start()
        for (session, asked), first in zip(steps, answers, strict=True):
            again = self.take(session, asked)
            if first and first.status == 200:
                assert_replay(again, first)
                self.tried[ANSWERED] += 1
            self.tried[AGAIN] += 1
            self.tried[SAVED] += was_replayed(again)

    def undo(self) -> None:
        """Take back a step of each session that can, by a request that is sent twice."""
        for session in [session for session in self.sessions if session.earlier]:
            headers = {"content-type": "application/json", "idempotency-key": f'"{new_key()}"'}
            body = json.dumps({"step": session.state.t}).encode()
            request = Request("POST", f"{session.path}/undo", headers=headers, body=body)
            assert self.send(request).body == self.send(request).body
            session.take_back()
            self.tried["steps undone"] += 1

    def resume(self, session: EngineSession) -> None:
        """Make a session of the state file of another."""
        file = self.read(f"{session.path}/state")
        agree_in_all(file, session.state)
        path = self.made(Request("POST", "/v1/sessions", headers=BINARY, body=file))
        self.sessions.append(session.copied(path, session.undo))
        self.tried[RESUMED] += 1

    def check(self, session: EngineSession) -> None:
        """Compare the session, its state file and the parameters it holds with the engine's."""
        document = json.loads(self.read(session.path))
        document["tensors"] = {name: tensor["step"] for name, tensor in document["tensors"].items()}
        assert {name: document[name] for name in session.seen()} == session.seen()
        agree_in_all(self.read(f"{session.path}/state"), session.state)
        if session.config.hold_params:
            content = self.read(f"{session.path}/params", accept=SAFETENSORS)
            expected = held_params(session.state, dict.fromkeys(session.state.held()))
            assert same_bits(decode(content, "params")[0], expected)


def request_of(session: EngineSession, asked: Asked) -> Request:
    content = asked.content()
    return Request("POST", f"{session.path}/steps", headers=content["headers"], body=content["content"])


def answer_of(client: socket.socket) -> Response | None:
    """Return the answer that came before the server's end, if all of it came."""
    answer = HTTPResponse(client)
    try:
        answer.begin()
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    except LOST:
        return None


@pytest.mark.requirement("R1", "R2")
@pytest.mark.long
def test_kills_leave_every_rule_the_bits_of_the_engine(
    trial: Trial, store: str, pair: list[ServerProcess], wires: list[Wire]
) -> None:
    """In a quick run each store has its half of the sessions."""
    trainings, half = Trainings(trial, pair, wires), trial.times(quick=2, whole=1)
    for n, body in enumerate(bodies()):
        if (n + DURABLE.index(store.partition(":")[0])) % half == 0:
            trainings.create(body, list(DTYPES.values())[n // 4 % len(DTYPES)])
    for _ in range(trial.times(quick=1, whole=10)):
        trainings.take_all()
        trainings.take_all_under_a_kill()
        trainings.undo()
        if trial.tried[RESUMED] < MOST_COPIES:
            for session in trial.random.sample(trainings.sessions, 5):
                trainings.resume(session)
    trainings.take_all()
    for session in trainings.sessions:
        trainings.check(session)
    answered, saved, again = (trial.tried[what] for what in (ANSWERED, SAVED, AGAIN))
    assert 0 < answered <= saved < again
