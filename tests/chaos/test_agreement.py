"""Random requests to the whole service on each of the three stores, and to AdamW in a few lines of NumPy.

The stores must agree with one another to the bit, and with NumPy up to rounding.
"""

import copy
import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray
from optim_client._tensors import decode

from tests.bodies import encode
from tests.chaos.trial import Trial
from tests.service.calls import SAFETENSORS, create, serving

Array: TypeAlias = NDArray[np.float64]
Arrays: TypeAlias = dict[str, Array]
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
BINARY = {"content-type": SAFETENSORS}
SHAPES = {"w": (2,), "x": (), "y": (2, 2)}

tensors = st.sets(st.sampled_from(sorted(SHAPES)), min_size=1).map(sorted)
rates = st.sampled_from([0.001, 0.1])
seeds = st.integers(0, 1 << 32)
OTHERS = 1 << 33
KEYS = itertools.count()
"""Keys are never reused, because a session that got an older state back still knows its keys."""


@dataclass
class Tensor:
    """A tensor's moments, its number of steps, and its parameter if the session holds it."""

    m: Array
    v: Array
    count: int = 0
    held: Array | None = None


@dataclass
class Session:
    """A session as the services should know it; `paths` are its paths on the three of them."""

    paths: list[str]
    hold_params: bool
    lr: float
    weight_decay: float = 0.01
    step: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    last: tuple[dict[str, Any], list[httpx2.Response]] | None = None
    """The last step with its answers, while a retry must get them again."""

    def unheld(self, names: list[str]) -> list[str]:
        """Return those of the tensors whose parameters must be sent."""
        return [name for name in names if name not in self.tensors or self.tensors[name].held is None]

    def take(self, params: Arrays, grads: Arrays) -> Arrays:
        """Take a step of AdamW as in its paper; return the new parameters."""
        self.step += 1
        self.rows.append(self.step)
        return {name: self._take(name, params.get(name), g) for name, g in grads.items()}

    def _take(self, name: str, param: Array | None, g: Array) -> Array:
        tensor = self.tensors.setdefault(name, Tensor(np.zeros_like(g), np.zeros_like(g)))
        old = tensor.held if param is None else param
        assert old is not None
        tensor.count += 1
        tensor.m = BETA1 * tensor.m + (1 - BETA1) * g
        tensor.v = BETA2 * tensor.v + (1 - BETA2) * g * g
        m, v = tensor.m / (1 - BETA1**tensor.count), tensor.v / (1 - BETA2**tensor.count)
        new = old - self.lr * self.weight_decay * old - self.lr * m / (np.sqrt(v) + EPS)
        if self.hold_params:
            tensor.held = new
        return new


class Services(RuleBasedStateMachine):
    """The three services, their sessions, and the comparison of their answers."""

    clients: Sequence[httpx2.Client]
    trial: Trial

    def __init__(self) -> None:
        super().__init__()
        self.sessions: dict[str, Session] = {}
        self.files: list[tuple[str, list[bytes], Session]] = []

    @initialize()
    def count(self) -> None:
        self.trial.tried["examples"] += 1

    def teardown(self) -> None:
        for session in self.sessions.values():
            self.every("DELETE", session.paths)

    def every(self, method: str, paths: list[str], **content: Any) -> list[httpx2.Response]:
        self.trial.tried["requests to all three"] += 1
        return [client.request(method, path, **content) for client, path in zip(self.clients, paths, strict=True)]

    def expect(
        self, status: int, method: str, paths: list[str], code: str | None = None, **content: Any
    ) -> list[httpx2.Response]:
        """Return the answers. All must have that status, and refusals that code."""
        answers = self.every(method, paths, **content)
        assert [answer.status_code for answer in answers] == [status] * 3, answers[0].text
        if code is not None:
            assert [answer.json()["code"] for answer in answers] == [code] * 3
        return answers

    def any_session(self, data: st.DataObject) -> Session:
        return self.sessions[data.draw(st.sampled_from(sorted(self.sessions)))]

    @staticmethod
    def agree(answers: list[httpx2.Response], kind: str, expected: Mapping[str, Array]) -> None:
        """Assert that the answers' arrays of that kind are equal to the bit, and near NumPy's."""
        found = [decode(answer.content, kind)[0] for answer in answers]
        assert all(arrays.keys() == expected.keys() for arrays in found)
        for name, array in expected.items():
            assert {arrays[name].tobytes() for arrays in found} == {found[0][name].tobytes()}
            np.testing.assert_allclose(found[0][name], array, rtol=1e-10, atol=1e-12)


class Rules(Services):
    """The requests that Hypothesis chooses from. Each goes to all three services and to the model."""

    @rule(name=st.sampled_from("ab"), hold_params=st.booleans(), lr=rates)
    def create(self, name: str, hold_params: bool, lr: float) -> None:
        if name not in self.sessions:
            paths = [create(client, hold_params=hold_params, hyperparameters={"lr": lr}) for client in self.clients]
            self.sessions[name] = Session(paths, hold_params, lr)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), names=tensors, drawn=seeds, numbered=st.booleans(), keyed=st.booleans())
    def take(self, data: st.DataObject, names: list[str], drawn: int, numbered: bool, keyed: bool) -> None:
        session = self.any_session(data)
        number = session.step + 1 if numbered else None
        key = str(next(KEYS)) if keyed or not numbered else None
        params, grads = values(session.unheld(names), drawn), values(names, drawn + 1)
        content = request(params, grads, number, key)
        answers = self.expect(200, "POST", [f"{path}/steps" for path in session.paths], **content)
        self.agree(answers, "params", session.take(params, grads))
        session.last = content, answers

    @precondition(lambda self: any(session.last for session in self.sessions.values()))
    @rule(data=st.data())
    def take_again(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from([session for session in self.sessions.values() if session.last]))
        assert session.last
        content, before = session.last
        answers = self.expect(200, "POST", [f"{path}/steps" for path in session.paths], **content)
        assert {answer.content for answer in answers} == {before[0].content}
        assert all(answer.headers["idempotent-replayed"] == "true" for answer in answers)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), names=tensors, drawn=seeds, ahead=st.sampled_from([-1, 0, 2]))
    def take_out_of_turn(self, data: st.DataObject, names: list[str], drawn: int, ahead: int) -> None:
        session = self.any_session(data)
        number = max(1, session.step + ahead) if session.step + ahead != session.step + 1 else session.step + 2
        if number != session.step + 1:
            other = OTHERS + drawn  # else it could be a retry of the last step
            content = request(values(session.unheld(names), other), values(names, other), number, None)
            paths = [f"{path}/steps" for path in session.paths]
            answers = self.expect(409, "POST", paths, "step_conflict", **content)
            assert {answer.json()["current_step"] for answer in answers} == {session.step}

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), lr=rates, weight_decay=st.sampled_from([0.0, 0.5]))
    def change(self, data: st.DataObject, lr: float, weight_decay: float) -> None:
        session = self.any_session(data)
        document = {"hyperparameters": {"lr": lr, "weight_decay": weight_decay}}
        self.expect(200, "PATCH", session.paths, json=document)
        session.lr, session.weight_decay = lr, weight_decay

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), names=tensors, drawn=seeds)
    def hold(self, data: st.DataObject, names: list[str], drawn: int) -> None:
        session, params = self.any_session(data), values(names, drawn)
        paths = [f"{path}/params" for path in session.paths]
        content = {"content": encode({"params": params}, {}), "headers": BINARY}
        if not session.hold_params:
            self.expect(422, "PUT", paths, "invalid_session", **content)
            return
        self.expect(204, "PUT", paths, **content)
        for name, held in params.items():
            known = session.tensors.setdefault(name, Tensor(np.zeros_like(held), np.zeros_like(held)))
            known.held = held
        session.last = None

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def download(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.sessions)))
        session = self.sessions[name]
        files = [answer.content for answer in self.expect(200, "GET", [f"{path}/state" for path in session.paths])]
        self.files.append((name, files, copy.deepcopy(session)))

    @precondition(lambda self: any(name in self.sessions for name, _, _ in self.files))
    @rule(data=st.data())
    def upload(self, data: st.DataObject) -> None:
        name, files, then = data.draw(st.sampled_from([file for file in self.files if file[0] in self.sessions]))
        now = self.sessions[name]
        fits = then.hold_params == now.hold_params and now.tensors.keys() <= then.tensors.keys()
        for client, path, file in zip(self.clients, now.paths, files, strict=True):
            answer = client.put(f"{path}/state", content=file, headers=BINARY)
            assert answer.status_code == (204 if fits else 422), answer.text
        if fits:
            now.step, now.tensors, now.last = then.step, copy.deepcopy(then.tensors), None
            now.rows = [row for row in now.rows if row <= then.step]

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        session = self.sessions.pop(data.draw(st.sampled_from(sorted(self.sessions))))
        self.expect(204, "DELETE", session.paths)
        self.expect(404, "GET", session.paths, "session_not_found")

    @invariant()
    def all_is_there(self) -> None:
        for session in self.sessions.values():
            documents = [answer.json() for answer in self.expect(200, "GET", session.paths)]
            assert len({document["digest"] for document in documents}) == 1
            for document in documents:
                assert document["step"] == session.step
                counts = {name: tensor["step"] for name, tensor in document["tensors"].items()}
                assert counts == {name: tensor.count for name, tensor in session.tensors.items()}
            states = self.expect(200, "GET", [f"{path}/state" for path in session.paths])
            for slot in ("m", "v"):
                known = {name: getattr(tensor, slot) for name, tensor in session.tensors.items() if tensor.count}
                self.agree(states, slot, known)
            held = {name: tensor.held for name, tensor in session.tensors.items() if tensor.held is not None}
            self.agree(states, "params", held)
            for answer in self.every("GET", [f"{path}/history" for path in session.paths]):
                assert [row["step"] for row in answer.json()["history"]] == session.rows


def request(params: Arrays, grads: Arrays, number: int | None, key: str | None) -> dict[str, Any]:
    metadata = {} if number is None else {"step": str(number)}
    headers = BINARY | ({} if key is None else {"idempotency-key": json.dumps(key)})
    return {"content": encode({"params": params, "grads": grads}, metadata), "headers": headers}


def values(names: list[str], drawn: int) -> Arrays:
    draw = np.random.default_rng(drawn).standard_normal
    return {name: np.asarray(draw(SHAPES[name])) for name in names}


@pytest.mark.requirement("R6")
@pytest.mark.long
def test_the_service_agrees_with_numpy_on_every_store(redis_url: str, tmp_path: Path, trial: Trial) -> None:
    examples = settings(
        max_examples=trial.times(quick=6, whole=200),
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    with ExitStack() as stack:
        clients = [stack.enter_context(serving(store=url)) for url in ("memory:", f"lmdb:{tmp_path}", redis_url)]
        machine = seed(trial.seed)(type("Machine", (Rules,), {"clients": clients, "trial": trial}))
        run_state_machine_as_test(machine, settings=examples)
