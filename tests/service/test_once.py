"""Exactly once for every write: keys, `If-Match` and ETags, on each store. Steps have a table of their own in
`test_replay`."""

import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from httpx2 import Client

from app.once import Done
from app.store.memory import MemoryStore
from tests.service.calls import SAFETENSORS, W, create, path_of, problem, serving, stepped

PARAMS = {"w": [5.0, 6.0]}


@dataclass
class Ask:
    """A request of one method to a part of a session, with a body that can be another one."""

    method: str
    rest: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)
    status: int = 204

    def send(self, client: Client, session: str, body: dict[str, Any] | None = None, **headers: str) -> httpx2.Response:
        body = self.body if body is None else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if "content" in body:
            named["content-type"] = SAFETENSORS
        return client.request(self.method, session + self.rest, headers=named, **body)


PATCH = Ask("PATCH", "", {"json": {"labels": {"a": "1"}}}, {"json": {"labels": {"a": "2"}}}, 200)
PUT_PARAMS = Ask("PUT", "/params", {"json": {"params": PARAMS}}, {"json": {"params": {"w": [7.0, 8.0]}}})
PUT_STATE = Ask("PUT", "/state")
"""Its bodies are states of the session."""
PATCH_TENSORS = Ask("PATCH", "/tensors", {"json": {"reset": ["w"]}}, {"json": {"rename": {"w": "x"}}}, 200)
STEP = Ask("POST", "/steps", {"json": {"grads": {"w": [1.0, 1.0]}}}, {"json": {"grads": {"w": [2.0, 2.0]}}}, 200)
DELETE = Ask("DELETE")
UNDO = Ask("POST", "/undo", {"json": {"step": 1}}, {"json": {"step": 2}}, 200)
CHANGES = {
    "PATCH": PATCH,
    "PUT params": PUT_PARAMS,
    "PUT state": PUT_STATE,
    "PATCH tensors": PATCH_TENSORS,
    "an undo": UNDO,
}
KEPT = CHANGES | {"a step": STEP}
"""The writes that leave a session behind."""
WRITES = KEPT | {"DELETE": DELETE}


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


@pytest.fixture
def session(client: Client) -> str:
    """One that holds parameters, at step 1."""
    session = create(client, "adam", hold_params=True, undo=1)
    client.put(f"{session}/params", json={"params": W["params"]})
    stepped(client, session, "first", grads=W["grads"])
    return session


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest, client: Client, session: str) -> Ask:
    return _ready(CHANGES[request.param], client, session)


@pytest.fixture(params=KEPT)
def kept(request: pytest.FixtureRequest, client: Client, session: str) -> Ask:
    return _ready(KEPT[request.param], client, session)


@pytest.fixture(params=WRITES)
def write(request: pytest.FixtureRequest, client: Client, session: str) -> Ask:
    return _ready(WRITES[request.param], client, session)


def _ready(ask: Ask, client: Client, session: str) -> Ask:
    if ask is not PUT_STATE:
        return ask
    states = []
    for _ in range(2):
        content = client.get(f"{session}/state").content
        states.append({"content": content})
        stepped(client, session, grads={"w": [0.5, 0.5]})
    return Ask("PUT", "/state", *states)


def seen(client: Client, session: str) -> tuple[str, bytes, bytes]:
    """All that can be seen of the session; first its ETag."""
    answers = [client.get(session + rest) for rest in ("", "/state", "/history")]
    return answers[0].headers["etag"], answers[0].content, answers[1].content + answers[2].content


def test_a_change_that_is_sent_again_changes_nothing(client: Client, session: str, change: Ask) -> None:
    first = change.send(client, session, idempotency_key='"a"')
    assert (first.status_code, first.headers.get("idempotent-replayed")) == (change.status, None), first.text
    assert first.headers["etag"] == seen(client, session)[0]
    for _ in range(3):
        stepped(client, session, grads={"w": [0.5, 0.5]})
        client.patch(session, json={"hyperparameters": {"lr": 0.5}})
        before = seen(client, session)
        again = change.send(client, session, idempotency_key='"a"')
        assert (again.status_code, again.headers["idempotent-replayed"]) == (change.status, "true"), again.text
        assert again.headers["etag"] == before[0]
        assert again.content in {b"", before[1]}
        assert seen(client, session) == before


def test_a_step_that_is_sent_again_late_names_its_number(client: Client, session: str) -> None:
    assert STEP.send(client, session, idempotency_key='"a"').json()["step"] == 2
    client.put(f"{session}/params", json={"params": PARAMS})
    late = problem(STEP.send(client, session, idempotency_key='"a"'), 409, "step_conflict")
    assert (late["applied_as_step"], late["current_step"]) == (2, 2)


def test_a_key_stands_for_one_body(client: Client, session: str, kept: Ask) -> None:
    assert kept.send(client, session, idempotency_key='"a"').is_success
    before = seen(client, session)
    problem(kept.send(client, session, kept.other, idempotency_key='"a"'), 422, "idempotency_mismatch")
    assert seen(client, session) == before


def test_the_key_of_a_step_is_no_other_request_s(client: Client, session: str, write: Ask) -> None:
    before = seen(client, session)
    assert problem(write.send(client, session, idempotency_key='"first"'), 422, "idempotency_mismatch")["step"] == 1
    assert seen(client, session) == before


def test_a_key_stands_for_one_method_and_path(client: Client, session: str) -> None:
    assert PUT_PARAMS.send(client, session, idempotency_key='"a"').status_code == 204
    for ask in (PATCH, STEP, DELETE):
        refused = problem(ask.send(client, session, idempotency_key='"a"'), 422, "idempotency_mismatch")
        assert "another request" in refused["detail"]
    assert PUT_PARAMS.send(client, session, idempotency_key='"a"').headers["idempotent-replayed"] == "true"


def test_a_refused_write_uses_no_key(client: Client, session: str) -> None:
    problem(client.patch(session, json={"clip": 7}, headers={"idempotency-key": '"a"'}), 422, "invalid_session")
    problem(PATCH.send(client, session, idempotency_key='"a"', if_match='"0-0"'), 412, "precondition_failed")
    assert "idempotent-replayed" not in PATCH.send(client, session, idempotency_key='"a"').headers


def test_keys_are_a_session_s_own(client: Client, session: str) -> None:
    other = create(client, "adam", hold_params=True)
    for path in (session, other):
        assert "idempotent-replayed" not in PATCH.send(client, path, idempotency_key='"a"').headers


def test_a_deletion_that_is_sent_again_is_404(client: Client, session: str) -> None:
    assert DELETE.send(client, session, idempotency_key='"a"').status_code == 204
    problem(DELETE.send(client, session, idempotency_key='"a"'), 404, "session_not_found")


def test_a_write_on_another_state_is_refused(client: Client, session: str, write: Ask) -> None:
    stale = client.get(session).headers["etag"]
    stepped(client, session, grads={"w": [0.5, 0.5]})
    before = seen(client, session)
    for tags in (stale, '"not-the-etag"', f'{stale}, "x"', f"W/{before[0]}"):
        refused = problem(write.send(client, session, if_match=tags), 412, "precondition_failed")
        assert before[0] in refused["detail"]
    assert seen(client, session) == before


@pytest.mark.parametrize("tags", ["{}", "*", '"x", {}', '"x", , {},', '"a,b" ,\t{} , W/"c"', " {}"])
def test_a_write_on_the_named_state_is_done(client: Client, session: str, write: Ask, tags: str) -> None:
    tags = tags.format(client.get(session).headers["etag"])
    assert write.send(client, session, if_match=tags).is_success


def test_if_match_may_stand_on_several_lines(client: Client, session: str) -> None:
    etag = client.get(session).headers["etag"]
    headers = [("if-match", '"x"'), ("if-match", etag)]
    assert client.patch(session, json={"labels": {}}, headers=headers).status_code == 200


def test_every_answer_of_a_write_has_the_new_etag(client: Client, session: str, kept: Ask) -> None:
    old = client.get(session).headers["etag"]
    new = kept.send(client, session, if_match=old).headers["etag"]
    assert new != old
    assert new == client.get(session).headers["etag"]
    assert PATCH.send(client, session, if_match=new).is_success


def test_a_replay_is_decided_before_if_match(client: Client, session: str, change: Ask) -> None:
    etag = client.get(session).headers["etag"]
    for replayed in (None, "true"):
        answer = change.send(client, session, idempotency_key='"a"', if_match=etag)
        assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (change.status, replayed)


def test_a_replayed_step_is_decided_before_if_match(client: Client, session: str) -> None:
    etag = client.get(session).headers["etag"]
    first, again = [STEP.send(client, session, idempotency_key='"a"', if_match=etag) for _ in range(2)]
    assert (first.content, again.headers["idempotent-replayed"]) == (again.content, "true")
    assert again.headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize("tags", ["", "x", '"', '*, "x"', '"a" "b"', 'w/"a"', '"a";'])
def test_an_unreadable_if_match_is_named(client: Client, session: str, tags: str) -> None:
    refused = problem(PATCH.send(client, session, if_match=tags), 400, "malformed_header")
    assert "If-Match" in refused["detail"]


def test_two_keys_in_one_request_are_refused(client: Client, session: str) -> None:
    headers = [("idempotency-key", '"a"'), ("idempotency-key", '"b"')]
    problem(client.patch(session, json={}, headers=headers), 400, "malformed_header")


# Creating


def made(client: Client, key: str = '"a"', **headers: str) -> httpx2.Response:
    document = {"optimizer": "adam", "labels": {"run": "1"}}
    return client.post("/v1/sessions", json=document, headers={"idempotency-key": key} | headers)


def test_a_creation_that_is_sent_again_makes_one_session(client: Client) -> None:
    first = made(client)
    assert (first.status_code, first.headers.get("idempotent-replayed")) == (201, None)
    stepped(client, path_of(first), **W)
    for _ in range(2):
        again = made(client)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
        assert again.headers["location"] == first.headers["location"]
        assert (again.json()["step"], again.content) == (1, client.get(path_of(first)).content)
        assert again.headers["etag"] == client.get(path_of(first)).headers["etag"]
    assert len(client.get("/v1/sessions").json()["sessions"]) == 1
    assert made(client, '"b"').json()["id"] != first.json()["id"]


def test_a_creation_s_key_stands_for_one_body(client: Client) -> None:
    made(client)
    other = client.post("/v1/sessions", json={"optimizer": "sgd"}, headers={"idempotency-key": '"a"'})
    assert "step" not in problem(other, 422, "idempotency_mismatch")
    assert len(client.get("/v1/sessions").json()["sessions"]) == 1


def test_a_created_session_that_is_gone_is_not_made_again(client: Client) -> None:
    session = path_of(made(client))
    client.delete(session)
    for _ in range(2):
        problem(made(client), 404, "session_not_found")
    assert client.get("/v1/sessions").json()["sessions"] == []


def test_a_refused_creation_uses_no_key(store_url: str) -> None:
    with serving(store=store_url, max_sessions=1) as client:
        session = create(client)
        problem(made(client), 403, "quota_exceeded")
        client.delete(session)
        assert (answer := made(client)).status_code == 201
        assert "idempotent-replayed" not in answer.headers


def test_nothing_that_is_created_has_an_etag_before(client: Client) -> None:
    for tags in ("*", '"1-0123456789ab"'):
        problem(made(client, **{"if-match": tags}), 412, "precondition_failed")
    assert client.get("/v1/sessions").json()["sessions"] == []
    first = made(client)
    assert made(client, **{"if-match": '"x"'}).headers["location"] == first.headers["location"]


def test_creations_keys_are_a_tenant_s_own(store_url: str, tmp_path: Path) -> None:
    digests = {tenant: hashlib.sha256(tenant.encode()).hexdigest() for tenant in ("one", "two")}
    rows = [{"sha256": digest, "tenant": tenant, "role": "write"} for tenant, digest in digests.items()]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": rows}))
    file.chmod(0o600)
    with serving(store=store_url, api_keys_file=file) as client:
        ids = set()
        for tenant in ("one", "two"):
            client.headers["authorization"] = f"Bearer {tenant}"
            ids |= {made(client).json()["id"] for _ in range(2)}
        assert len(ids) == 2


# Across restarts


@pytest.mark.parametrize("kind", ["lmdb", "redis"])
def test_keys_outlive_a_restart(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = str(request.getfixturevalue("redis_url")) if kind == "redis" else f"lmdb:{tmp_path / 'store'}"
    with serving(store=url) as client:
        session = path_of(made(client))
        changed = PATCH.send(client, session, idempotency_key='"a"')
    with serving(store=url) as client:
        assert made(client).headers["idempotent-replayed"] == "true"
        again = PATCH.send(client, session, idempotency_key='"a"')
        assert (again.headers["idempotent-replayed"], again.content) == ("true", changed.content)
        assert PATCH.send(client, session, if_match=changed.headers["etag"]).status_code == 200


# Damage


@pytest.mark.parametrize("row", [b"", b"garbage", b"[]", b"{}", b"1"])
def test_a_damaged_row_of_a_key_is_refused(row: bytes) -> None:
    store = MemoryStore(100)
    with serving(store, state_cache_bytes=0) as client:
        session = create(client)
        PATCH.send(client, session, idempotency_key='"a"')
        for keys in store._keys.values():
            keys.update((digest, (used_at, row)) for digest, (used_at, _) in keys.items())
        assert (
            "use a new key"
            in problem(PATCH.send(client, session, idempotency_key='"a"'), 500, "state_damaged")["detail"]
        )
        assert PATCH.send(client, session, idempotency_key='"b"').status_code == 200


def test_a_used_key_holds_no_more_memory_than_its_row() -> None:
    tracemalloc.start()
    try:
        used = [Done("0" * 32, step).used(str(step)) for step in range(100)]
        assert tracemalloc.get_traced_memory()[0] < len(used) * 1000
    finally:
        tracemalloc.stop()


def test_unchanged_parameters_are_not_sent_again(client: Client) -> None:
    held, other = create(client, hold_params=True), create(client)
    stepped(client, held, params={"w": [1, 2]}, grads={"w": [1, 2]})
    etag = client.get(f"{held}/params").headers["etag"]
    assert etag == client.get(held).headers["etag"]
    known = {"if-none-match": f'W/{etag}, "other"'}
    again = client.get(f"{held}/params", headers=known)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    stepped(client, held, grads={"w": [1, 2]})
    assert client.get(f"{held}/params", headers=known).headers["etag"] != etag
    refused = client.get(f"{other}/params", headers={"if-none-match": client.get(other).headers["etag"]})
    problem(refused, 422, "invalid_session")
