"""Concurrent clients of one session on several servers, and the history of their calls and answers.

Each client has its own kept connections. Some hang up before the answer: the outcome of their request is unknown.
"""

import http.client
import json
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, Self, TypeAlias

import numpy as np
from optim_client._protocol import Request, Response
from optim_client._tensors import decode

from tests.chaos.linearizability import Operation
from tests.chaos.session_model import (
    LR,
    UNDO,
    Answer,
    Call,
    Delete,
    Get,
    GetHistory,
    GetParams,
    Patch,
    PutParams,
    SessionModel,
    Step,
    Undo,
    Values,
)
from tests.durability.wire import JSON, Wire
from tests.service.calls import SAFETENSORS

History: TypeAlias = list[Operation[Call, Answer]]
BUSY = "session_busy"
CLIENTS = 8


class Session:
    """A session on the servers, its model, and the state that its clients share."""

    def __init__(self, wire: Wire, *, hold_params: bool, chance: random.Random) -> None:
        self.chance = chance
        held = drawn(chance) if hold_params else None
        self.holds = hold_params
        self.model = SessionModel(held)
        settings = {"optimizer": "adamw", "hyperparameters": {"lr": LR}, "hold_params": hold_params, "undo": UNDO}
        self.path = f"/v1/sessions/{wire.ask('POST', '/v1/sessions', settings, 201)['id']}"
        if held is not None:
            wire.send(self.request(PutParams(held)))
        self.step = self.undos = 0
        self.sent: list[Step] = []

    def next_call(self) -> Call:
        """Return a random call. Most are steps; most of those have a number, and one in seven is a repetition."""
        chance = self.chance
        calls: dict[Any, int] = {self._new_step: 60, self._old_step: 14, self._get: 18, GetHistory: 8}
        calls |= {self._patch: 10, self._undo: 10, Delete: 1}
        if self.holds:
            calls |= {GetParams: 8, self._put_params: 3}
        call: Call = chance.choices(list(calls), list(calls.values()))[0]()
        if isinstance(call, Step):
            self.sent.append(call)
        return call

    def _new_step(self) -> Step:
        number = self.step + 1 if self.chance.random() < 0.7 else None
        key = f"key {len(self.sent)}" if number is None or self.chance.random() < 0.5 else None
        return Step(drawn(self.chance), None if self.holds else drawn(self.chance), number, key)

    def _old_step(self) -> Step:
        """Return one of the last steps, sometimes with the key of another."""
        last = self.sent[-8:] or [self._new_step()]
        old = self.chance.choice(last)
        key = self.chance.choice(last).key if self.chance.random() < 0.1 else old.key
        return Step(old.grads, old.params, old.number, key)

    def _get(self) -> Get:
        return Get(whole=self.chance.random() < 0.3)

    def _patch(self) -> Patch:
        return Patch(LR * self.chance.randint(1, 4))

    def _undo(self) -> Undo:
        """Return an undo of the last step, or of the one before; some are sent twice, with one key."""
        self.undos += self.chance.random() < 0.7
        return Undo(max(1, self.step - (self.chance.random() < 0.1)), f"undo {self.undos}")

    def _put_params(self) -> PutParams:
        return PutParams(drawn(self.chance))

    def request(self, call: Call) -> Request:
        match call:
            case Step(grads, params, number, key):
                body = {"grads": {"w": grads}} | ({} if params is None else {"params": {"w": params}})
                body |= {} if number is None else {"step": number}
                headers = JSON if key is None else JSON | {"idempotency-key": f'"{key}"'}
                return Request("POST", f"{self.path}/steps", headers=headers, body=json.dumps(body).encode())
            case Undo(number, key):
                return self._json("POST", f"{self.path}/undo", {"step": number}, {"idempotency-key": f'"{key}"'})
            case Get(whole):
                return Request("GET", f"{self.path}/state" if whole else self.path)
            case GetHistory():
                return Request("GET", f"{self.path}/history")
            case Patch(lr):
                return self._json("PATCH", self.path, {"hyperparameters": {"lr": lr}})
            case Delete():
                return Request("DELETE", self.path)
            case GetParams():
                return Request("GET", f"{self.path}/params")
            case PutParams(params):
                return self._json("PUT", f"{self.path}/params", {"params": {"w": params}})

    @staticmethod
    def _json(method: str, path: str, document: object, headers: Mapping[str, str] | None = None) -> Request:
        return Request(method, path, headers=JSON | (headers or {}), body=json.dumps(document).encode())


class Clients:
    """Eight clients, each with a connection to each server."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._stack = ExitStack()
        self._pool = self._stack.enter_context(ThreadPoolExecutor(CLIENTS))
        self._wires = [[self._stack.enter_context(Wire(port)) for port in ports] for _ in range(CLIENTS)]

    def history(self, session: Session, operations: int) -> History:
        """Share the operations among the clients; return the history of all."""
        shares = [operations // CLIENTS + (i < operations % CLIENTS) for i in range(CLIENTS)]
        return [seen for part in self._pool.map(self._use, self._wires, [session] * CLIENTS, shares) for seen in part]

    def _use(self, wires: Sequence[Wire], session: Session, operations: int) -> History:
        return [self._do(session.chance.choice(wires), session) for _ in range(operations)]

    def _do(self, wire: Wire, session: Session) -> Operation[Call, Answer]:
        call = session.next_call()
        request = session.request(call)
        hang_up = session.chance.random() < 0.03
        called = time.perf_counter()
        if hang_up:
            with suppress(http.client.HTTPException):
                wire.connection.request(request.method, request.path, request.body, dict(request.headers))
            wire.close()
            return Operation(call, None, called)
        response = wire.send(request)
        returned = time.perf_counter()
        answer = read(call, response)
        if isinstance(call, Step | Undo) and answer[0] == 200:
            session.step = answer[1]
        return Operation(call, answer, called, returned)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def drawn(chance: random.Random) -> Values:
    return chance.uniform(-1, 1), chance.uniform(-1, 1)


def read(call: Call, response: Response) -> Answer:
    """Return a response in the form of the model's answers."""
    document = _document(response)
    if response.status >= 400:
        about = {
            "step_conflict": ("current_step", "applied_as_step", "undone"),
            "idempotency_mismatch": ("step",),
        }.get(document["code"], ())
        return (response.status, document["code"], *(document.get(name) for name in about))
    match call:
        case Step():
            replayed = ("replayed",) if "idempotent-replayed" in response.headers else ()
            return (response.status, document["step"], document["digest"], _float32(document), *replayed)
        case Get() | Patch() | Undo():
            replayed = ("replayed",) if "idempotent-replayed" in response.headers else ()
            seen = document["step"], document["hyperparameters"]["lr"], document["digest"]
            return (response.status, *seen, *replayed)
        case GetHistory():
            return (response.status, *(row["step"] for row in document["history"]))
        case GetParams():
            return response.status, _float32(document)
    return (response.status,)


def _document(response: Response) -> Any:
    """Return the JSON of a body; of a state file, that of the session in it."""
    if response.headers.get("content-type") == SAFETENSORS:
        return json.loads(decode(response.body, "m")[1]["session"])
    return json.loads(response.body or b"{}")


def _float32(document: Any) -> Values:
    return tuple(np.array(document["params"]["w"], np.float32).tolist())
