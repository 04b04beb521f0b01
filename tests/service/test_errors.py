"""Every error that there is, made to happen: one shape, its status, and what says whether to try again."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from httpx2 import Client

from app.errors import ERRORS, StoreUnavailable
from app.main import create_app
from app.settings import Settings
from app.store.base import IncompatibleStore
from app.store.memory import MemoryStore
from app.web import admission
from tests import contract
from tests.service.calls import SAFETENSORS, W, binary_step, create, path_of, problem, serving, step, stepped
from tests.service.crew import Crew
from tests.service.faults import BusyStore, DamagedStore, FailingStore, ForgedStore, SlowStore

MARK = 123456.75
"""A value that is sent in arrays, and must not come back in an error."""
MARKED = {"params": {"w": [MARK, MARK]}, "grads": {"w": [MARK, MARK]}}


def failing(error: Exception) -> httpx2.Response:
    store = FailingStore(10)
    with serving(store) as client:
        session = create(client)
        store.error = error
        return step(client, session, **MARKED)


def keyed(tmp_path: Path, key: str | None, role: str = "read") -> httpx2.Response:
    row = {"sha256": hashlib.sha256(b"secret").hexdigest(), "tenant": "lab", "role": role}
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row]}))
    with serving(api_keys_file=file) as client:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return client.post("/v1/sessions", json={"optimizer": "sgd"}, headers=headers)


def with_client(ask: Callable[[Client], httpx2.Response], **settings: Any) -> Callable[[Path], httpx2.Response]:
    def asked(_: Path) -> httpx2.Response:
        with serving(**settings) as client:
            return ask(client)

    return asked


def on_session(
    ask: Callable[[Client, str], httpx2.Response], store: type[MemoryStore] = MemoryStore, **settings: Any
) -> Callable[[Path], httpx2.Response]:
    """On a session that has taken one step, where its store lets it."""

    def asked(_: Path) -> httpx2.Response:
        with serving(store(10), **settings) as client:
            session = create(client)
            step(client, session, "one", **W)
            return ask(client, session)

    return asked


def with_crew(ask: Callable[[Crew], httpx2.Response]) -> Callable[[Path], httpx2.Response]:
    """On a session whose workers `a` and `b` have joined, and one of which is a quorum."""
    return with_client(lambda client: ask(Crew(client, "a", "b", quorum=1, grace_seconds=600)))


def rate_limited(client: Client) -> httpx2.Response:
    client.get("/v1/sessions")
    return client.get("/v1/sessions")


def overloaded(_: Path) -> httpx2.Response:
    """The second of two steps, where there is a place for one."""

    async def both() -> httpx2.Response:
        store = SlowStore()
        app = create_app(Settings(store="memory:", max_waiting_steps=1), store)
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://localhost") as c,
        ):
            steps = path_of(await c.post("/v1/sessions", json={"optimizer": "sgd"})) + "/steps"
            first = asyncio.create_task(c.post(steps, json=W))
            await store.begun.wait()
            second = await asyncio.wait_for(c.post(steps, json=MARKED), 30)
            store.go_on.set()
            assert (await first).status_code == 200
            return second

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "PATIENCE_SECONDS", (0, 0))
        return asyncio.run(both())


BAD = {"w": np.array([MARK, np.nan], np.float32)}
TEXT = {"content-type": "text/plain"}
WAYS: dict[str, Callable[[Path], httpx2.Response]] = {
    "internal_error": lambda _: failing(RuntimeError(f"secret {MARK}")),
    "malformed_body": on_session(lambda c, s: step(c, s, grads={"w": [MARK, "x"]}, params={"w": [MARK, MARK]})),
    "malformed_header": on_session(lambda c, s: c.post(f"{s}/steps", json=MARKED, headers={"idempotency-key": '"'})),
    "malformed_query": on_session(lambda c, s: c.post(f"{s}/steps?dry_run=true", json=MARKED)),
    "unauthenticated": lambda path: keyed(path, None),
    "forbidden": lambda path: keyed(path, "secret"),
    "quota_exceeded": on_session(lambda c, s: c.post("/v1/sessions", json={"optimizer": "sgd"}), max_sessions=1),
    "session_not_found": with_client(lambda c: step(c, "/v1/sessions/0", **MARKED)),
    "route_not_found": with_client(lambda c: c.get("/v2/sessions")),
    "method_not_allowed": with_client(lambda c: c.put("/v1/sessions", json=MARKED)),
    "not_acceptable": on_session(lambda c, s: c.post(f"{s}/steps", json=MARKED, headers={"accept": "text/html"})),
    "step_conflict": on_session(lambda c, s: step(c, s, **MARKED, step=7)),
    "params_conflict": on_session(
        lambda c, s: (c.patch(s, json={"on_other_params": "reject"}), step(c, s, **MARKED))[1]
    ),
    "undo_unavailable": on_session(lambda c, s: c.post(f"{s}/undo", json={"step": 1})),
    "session_busy": on_session(lambda c, s: step(c, s, **MARKED), BusyStore),
    "round_closed": with_crew(lambda crew: (crew.push(1, "a"), crew.close(1), crew.push(1, "b", MARKED["grads"]))[-1]),
    "round_open": with_crew(lambda crew: (crew.push(1, "a"), step(crew.client, crew.session, **MARKED))[-1]),
    "no_quorum": with_crew(lambda crew: crew.close(1)),
    "worker_fenced": with_crew(lambda crew: crew.push(1, "a", MARKED["grads"], epoch=7)),
    "workers_only": with_crew(lambda crew: step(crew.client, crew.session, **MARKED)),
    "stale": with_crew(
        lambda crew: (crew.push(1, "a"), crew.close(1), crew.push(2, "b", MARKED["grads"], base_step=0))[-1]
    ),
    "contribution_mismatch": with_crew(lambda crew: (crew.push(1, "a"), crew.push(1, "a", MARKED["grads"]))[-1]),
    "precondition_failed": on_session(
        lambda c, s: c.post(f"{s}/steps", json=MARKED, headers={"if-match": '"1-0123456789ab"'})
    ),
    "body_too_large": on_session(
        lambda c, s: step(c, s, params={"w": [MARK] * 999}, grads={"w": [MARK] * 999}), max_body_bytes=1024
    ),
    "unsupported_media_type": on_session(lambda c, s: c.post(f"{s}/steps", content=b"123456.75", headers=TEXT)),
    "misdirected": with_client(lambda c: c.post("/v1/sessions", json=MARKED, headers={"host": "evil.example"})),
    "invalid_session": with_client(lambda c: c.post("/v1/sessions", json={"optimizer": [MARK]})),
    "tensor_mismatch": on_session(lambda c, s: step(c, s, params={"w": [MARK]}, grads={"w": [MARK]})),
    "non_finite": on_session(lambda c, s: binary_step(c, s, BAD, BAD)),
    "idempotency_mismatch": on_session(lambda c, s: step(c, s, "one", **MARKED)),
    "invalid_state": on_session(
        lambda c, s: c.put(f"{s}/state", content=b"\2\0\0\0\0\0\0\0{}", headers={"content-type": SAFETENSORS})
    ),
    "rate_limited": with_client(rate_limited, rate_limit="1/hour"),
    "state_damaged": on_session(lambda c, s: step(c, s, **MARKED), DamagedStore, state_cache_bytes=0),
    "replay_differs": on_session(lambda c, s: step(c, s, "one", **W), ForgedStore, state_cache_bytes=0),
    "overloaded": overloaded,
    "store_unavailable": lambda _: failing(StoreUnavailable("the store does not answer")),
}


def test_there_is_a_way_to_each_error() -> None:
    assert WAYS.keys() == ERRORS.keys()


@pytest.fixture(params=ERRORS)
def code(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def answer(code: str, tmp_path: Path) -> httpx2.Response:
    return WAYS[code](tmp_path)


def test_every_error_is_a_problem_document_with_its_status(code: str, answer: httpx2.Response) -> None:
    document = problem(answer, ERRORS[code].status, code)
    assert document["title"] == ERRORS[code].title
    assert isinstance(document["detail"], str)
    assert document["detail"]


def test_no_error_gives_an_array_back(answer: httpx2.Response) -> None:
    assert str(MARK) not in answer.text
    for field in answer.json().values():
        assert not isinstance(field, (list, dict)) or all(isinstance(index, int) for index in field)


def test_an_error_has_the_contracts_members_and_headers(code: str, answer: httpx2.Response) -> None:
    expected = contract.ERRORS[code]
    assert answer.headers["content-type"] == contract.MEDIA_TYPE
    assert set(contract.MEMBERS) <= answer.json().keys() <= {*contract.MEMBERS, *expected["members"]}
    for name in ("retry-after", "x-should-retry"):
        assert (name in answer.headers) == (name in {header.lower() for header in expected["headers"]})
    for name, value in expected["headers"].items():
        assert value in (None, answer.headers[name])


def test_the_contract_has_every_error() -> None:
    assert {code: error["status"] for code, error in contract.ERRORS.items()} == {
        code: error.status for code, error in ERRORS.items()
    }
    for code, error in contract.ERRORS.items():
        assert error["again"] == contract.may_pass(error["status"], code, error["headers"]), code


def test_a_spent_rate_limit_says_when_to_try_again(tmp_path: Path) -> None:
    assert 3500 < int(WAYS["rate_limited"](tmp_path).headers["retry-after"]) <= 3600  # what is left of the hour


def test_an_unexpected_error_tells_nothing_of_what_is_inside(tmp_path: Path) -> None:
    assert "secret" not in WAYS["internal_error"](tmp_path).text


def test_a_store_of_a_newer_version_forbids_retries() -> None:
    answer = failing(IncompatibleStore("written by a newer version"))
    problem(answer, 503, "store_unavailable")
    assert answer.headers["x-should-retry"] == "false"


def test_nothing_of_a_refused_step_is_kept(client: Client) -> None:
    session = create(client)
    stepped(client, session, **W)
    before = client.get(session).content
    for body in ({**MARKED, "step": 9}, {"params": {"w": [1]}, "grads": {"w": [1]}}, {"grads": {"w": ["a"]}}):
        assert step(client, session, **body).status_code >= 400
    assert client.get(session).content == before
    assert len(client.get(f"{session}/history").json()["history"]) == 1
