"""Two processes of the service on any store, which crash and meet faults: the base of the machines in test_any_*.py.

All that it knows of sessions it has from the engine.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
import numpy as np
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, run_state_machine_as_test

from app import stepping
from app.main import create_app
from app.settings import Settings
from app.store.base import Store
from optim_engine import Config
from tests.chaos.faulty_store import Fault, Faulty
from tests.service import any_requests as any_of
from tests.service.any_requests import faults, seeds
from tests.service.calls import InThisThread, path_of
from tests.service.engine_session import EngineSession, Row, agree_in_all, new_key
from tests.stores import STORES

LARGE = stepping.LARGE


class TwoProcesses(RuleBasedStateMachine):
    """Two processes of the service on one store, which take the requests in turns."""

    apps: list[FastAPI]
    clients: list[httpx2.Client]
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def crash(self) -> None:
        """Let both processes forget all that they have in memory. Their routes stay: making those takes long."""
        for app in self.apps:
            app.state.service.compute.close()
            app.state.service = create_app(Settings(store="memory:"), self.store).state.service

    def send(self, method: str, path: str, fault: int | None = None, **content: Any) -> httpx2.Response:
        """Return the answer. The first try of a write is hit by the fault, and both processes crash; then it is sent
        again."""
        self.requests += 1
        if fault and isinstance(self.store, Faulty):
            self.store.fault = struck = Fault(fault, self.store.fail)
            answer = self.clients[0].request(method, path, **content)
            self.store.fault = None
            assert not struck.struck or answer.status_code != 500, answer.text
            self.crash()
        return self.clients[self.requests.bit_count() % 2].request(method, path, **content)

    def expect(self, status: int, method: str, path: str, code: str | None = None, **content: Any) -> httpx2.Response:
        answer = self.send(method, path, **content)
        assert answer.status_code == status, answer.text
        assert code is None or answer.json()["code"] == code, answer.text
        return answer

    def write(self, status: int, method: str, path: str, fault: int | None, **content: Any) -> httpx2.Response:
        """Return the answer of a write with a new key."""
        headers = {**content.pop("headers", {}), "idempotency-key": f'"{new_key()}"'}
        return self.expect(status, method, path, fault=fault, headers=headers, **content)


def play(
    machine: type[TwoProcesses],
    stores: dict[str, Store],
    runner: asyncio.Runner,
    *,
    examples: int,
    steps: int,
    **more: Any,
) -> None:
    """Run that machine with two processes, so many times with so many steps; `more` are further members of it."""
    apps = [create_app(Settings(store="memory:"), stores["memory"]) for _ in range(2)]
    clients = [httpx2.Client(transport=InThisThread(app, runner), base_url="http://localhost") for app in apps]
    members = {"stores": stores, "runner": runner, "apps": apps, "clients": clients, **more}
    limits = {"deadline": None, "suppress_health_check": list(HealthCheck)}
    amounts = settings(max_examples=examples, stateful_step_count=steps, **limits)
    try:
        run_state_machine_as_test(type("Machine", (machine,), members), settings=amounts)
    finally:
        for app in apps:
            app.state.service.compute.close()


class Processes(TwoProcesses):
    """Two processes on any of the stores, and their sessions."""

    stores: Mapping[str, Store]

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[EngineSession] = []
        self.files: list[tuple[bytes, EngineSession]] = []
        self.last: EngineSession | None = None

    @initialize(
        name=st.sampled_from(list(STORES)),
        large=st.booleans(),
        body=any_of.settings(),
        dtype=any_of.dtypes,
        seed=seeds,
        fault=faults,
    )
    def open(
        self, name: str, large: bool, body: dict[str, Any], dtype: type[Any], seed: int, fault: int | None
    ) -> None:
        """Start on one of the stores with a session; in some examples every step is done as a large one."""
        self.store = self.stores[name]
        stepping.LARGE = 0 if large else LARGE
        self.crash()
        path = path_of(self.write(201, "POST", "/v1/sessions", fault, json=body))
        config = Config.parse(**{name: value for name, value in body.items() if name != "undo"})
        params = any_of.params_of(np.float32 if config.wire_dtype else dtype, seed)
        self.sessions.append(EngineSession(path, config, body["undo"], params))

    def teardown(self) -> None:
        try:
            self.crash()
            for session in self.sessions:
                self.check(session)
        finally:
            for session in self.sessions:
                self.send("DELETE", session.path)

    @property
    def held(self) -> list[EngineSession]:
        """Return the sessions that hold parameters."""
        return [session for session in self.sessions if session.config.hold_params]

    def some(self, data: st.DataObject) -> EngineSession:
        self.last = data.draw(st.sampled_from(self.sessions))
        return self.last

    def check(self, session: EngineSession) -> None:
        """Assert that the whole state and the history are the engine's."""
        content = self.expect(200, "GET", f"{session.path}/state").content
        agree_in_all(content, session.state)
        rows = self.expect(200, "GET", f"{session.path}/history").json()["history"]
        found = [Row(row["step"], row["lr"], row["skipped"], row.get("undone", False)) for row in rows]
        assert found == sorted(session.rows, key=lambda row: row.step)

    @invariant()
    def the_session_is_as_it_should_be(self) -> None:
        """Look at the session of the last request; `teardown` checks all of them whole."""
        if (session := self.last) in self.sessions:
            assert session
            document = self.expect(200, "GET", session.path).json()
            document["tensors"] = {name: tensor["step"] for name, tensor in document["tensors"].items()}
            assert {name: document[name] for name in session.seen()} == session.seen()
        self.last = None
