"""Every call with everything right and wrong: none can be brought to an answer that its schema lacks."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.contributions import books
from app.errors import ServiceError, StateDamaged, StoreUnavailable
from app.store.base import Head, Save, Unreadable
from app.store.ledger import Ledger, LedgerSave
from app.store.memory import MemoryStore
from app.store.stamp import VersionConflict
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, create, problem, serving, stepped
from tests.service.test_openapi import CONTRACT, JSON, OPERATIONS, check_answer


class Troubled(MemoryStore):
    """Fails with `error` at the verbs that are named."""

    error: Exception | None = None
    verbs: tuple[str, ...] = ()

    def _maybe(self, verb: str) -> None:
        if self.error and verb in self.verbs:
            raise self.error

    async def ping(self) -> None:
        self._maybe("ping")

    async def load(self, session_id: str) -> Head | None:
        self._maybe("load")
        return await super().load(session_id)

    async def read(self, head: Head, into: memoryview) -> None:
        self._maybe("read")
        await super().read(head, into)

    async def save(self, save: Save) -> None:
        self._maybe("save")
        await super().save(save)

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        self._maybe("history")
        return await super().history(session_id, after, limit)

    async def ledger(self, session_id: str) -> Ledger | None:
        self._maybe("ledger")
        return await super().ledger(session_id)

    async def save_ledger(self, save: LedgerSave) -> None:
        self._maybe("save")
        await super().save_ledger(save)

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        self._maybe("list")
        return await super().list(tenant, limit, before)


ALL = ("ping", "load", "read", "save", "list", "history", "ledger")
TROUBLES: list[tuple[Exception, tuple[str, ...]]] = [
    (StoreUnavailable("away"), ALL),
    (StateDamaged("damaged"), ("load", "read", "list", "ledger")),
    (VersionConflict(), ("read", "save")),
    (RuntimeError("a defect"), ALL),
    (ServiceError("a failure"), ALL),
]
STATE = encode({"m": {"w": [1.0]}}, {"session": "{}"})
BODIES: list[tuple[str, bytes]] = [
    (media_type, content)
    for media_type in (JSON, SAFETENSORS, "text/plain")
    for content in (b"", b"{}", b"[]", b"{", b" " * 2000, STATE)
] + [
    (JSON, json.dumps(document).encode())
    for document in (
        {"step": 1},
        {"params": {"w": [1]}, "grads": {"w": [1]}, "step": 1},
        {"params": {"w": [1]}, "grads": {"w": [1]}, "step": 9},
        {"params": {"w": [1, 2]}, "grads": {"w": [1, 2]}},
        {"grads": {"w": {"dtype": "float32", "shape": [1], "base64": "AADAfw=="}}, "params": {"w": [1]}},
        {"grads": {"w": [1]}},
        {"grads": {"w": [2]}, "epoch": 1, "base_step": 1},
        {"grads": {"w": ["NaN"]}, "epoch": 1, "base_step": 1},
        {"epoch": 1},
        {"epoch": 9},
        {"params": {"w": [1]}},
        {"params": {"w": [1, 2]}},
        {"hyperparameters": {"amsgrad": True}},
        {"optimizer": "adamw", "hyperparameters": {"lr": -1}},
    )
]
HEADERS: list[dict[str, str]] = [
    {},
    {"accept": "text/html"},
    {"accept": SAFETENSORS},
    {"idempotency-key": '"'},
    {"idempotency-key": '"first"'},
    {"content-encoding": "gzip"},
    {"if-none-match": "*"},
]


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    rows = [
        {"sha256": hashlib.sha256(role.encode()).hexdigest(), "tenant": "lab", "role": role}
        for role in ("read", "write")
    ]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": rows}))
    return file


def requests(method: str) -> Iterator[dict[str, Any]]:
    """Return what a client may send, right and wrong."""
    for headers in HEADERS:
        yield {"headers": headers}
    for query in ("limit=0", "limit=1", "cursor=0", "after=-5"):
        yield {"params": query}
    if method not in ("GET", "DELETE"):
        for media_type, content in BODIES:
            for headers in HEADERS if content.startswith(b'{"params": {"w": [1]}, "grads"') else HEADERS[:1]:
                yield {"content": content, "headers": {"content-type": media_type, **headers}}


HOLDING = (
    "forkSession",
    "takeStep",
    "previewStep",
    "getParams",
    "getRows",
    "getTensors",
    "putParams",
    "getState",
    "putState",
    "editTensors",
)


WORKERS = {"rounds": {"expected": 2, "quorum": 2}, "async": {"mode": "async"}}
WORKING = {
    "joinWorker": "rounds",
    "contribute": "rounds",
    "contributeAsync": "async",
    "closeRound": "rounds",
    "takeStep": "rounds",
    "undoStep": "rounds",
    "putParams": "rounds",
    "putState": "rounds",
    "editTensors": "rounds",
}
"""The mode of workers with which a call is made, beside one without."""
CALLS = [(name, False, None) for name in CONTRACT] + [(name, True, None) for name in HOLDING]
CALLS += [(name, True, mode) for name, mode in WORKING.items()]


@pytest.mark.parametrize(("name", "hold", "mode"), CALLS)
@pytest.mark.long
def test_every_answer_of_a_call_is_in_its_schema(
    name: str, hold: bool, mode: str | None, keys_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "PAUSE_SECONDS", 0)
    method, path, operation = OPERATIONS[name]
    store = Troubled(10)
    with serving(store, api_keys_file=keys_file, max_body_bytes=1024, state_cache_bytes=0) as client:
        client.headers["authorization"] = "Bearer write"
        session = create(client, hold_params=hold, undo=1)
        stepped(client, session, "first", params={"w": [1.0]}, grads={"w": [1.0]})
        if mode is not None:
            client.patch(session, json={"workers": WORKERS[mode]})
            client.put(f"{session}/workers/a", json={})
        session_id = session.rpartition("/")[2]
        there = {"worker": "a", "round_number": "2", "seq": "1"}
        here, nowhere = path.format(session_id=session_id, **there), path.format(session_id="0" * 32, **there)

        def ask(where: str, **request: Any) -> None:
            if method == "DELETE" and where == here and not store.error:
                return  # at the very end
            check_answer(operation, client.request(method, where, **request))

        for request in requests(method):
            ask(here, **request)
        ask(nowhere)
        for authorization in ("Bearer read", "Bearer nobody"):
            check_answer(operation, client.request(method, here, headers={"authorization": authorization}))
        for store.error, store.verbs in TROUBLES:
            for request in requests(method):
                if request.get("headers", {}).keys() <= {"content-type"}:
                    ask(here, **request)
        store.error = None
        check_answer(operation, client.request(method, here))


@pytest.mark.parametrize("name", [name for name, (_, path) in CONTRACT.items() if path.startswith("/v1")])
def test_every_call_may_be_limited(name: str) -> None:
    method, path, operation = OPERATIONS[name]
    with serving(rate_limit="1/hour") as client:
        client.get("/v1/sessions")
        answer = client.request(method, path.format(session_id="0", worker="a", round_number="2", seq="1"))
        problem(answer, 429, "rate_limited")
        check_answer(operation, answer)
