"""Stored documents of other versions: later members are ignored, and the keys of format 1 are kept."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from httpx2 import Client

from app.store.memory import MemoryStore
from app.store.piece import checksum_of
from tests.service.calls import W, binary_step, create, problem, serving, step, stepped

GRADS = {"grads": W["grads"]}
BAD = {"w": np.array([np.nan, 1], np.float32)}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(100)


@pytest.fixture
def client(store: MemoryStore) -> Iterator[Client]:
    """Open a service without a cache."""
    with serving(store, state_cache_bytes=0) as client:
        yield client


def rewrite(store: MemoryStore, session: str, change: Callable[[Any], None], more: bytes = b"", form: int = 2) -> None:
    """Change the document of a session's head without the service's code; `more` goes into its other lines."""
    name = session.rpartition("/")[2]
    label, about, document = store._heads.written(name).split(b" ", 2)[2].split(b"\n", 2)
    read = orjson.loads(document)
    change(read)
    if more:
        label, about = label + b" " + more, about.replace(b"{", b'{"%s":{},' % more, 1)
    body = b"%d " % form, b"\n".join([label, about, orjson.dumps(read)])
    store._heads[name] = body[0] + checksum_of(b"".join(body)).encode() + b" " + body[1]


def test_members_of_a_later_version_are_ignored(store: MemoryStore, client: Client) -> None:
    session = create(client, hold_params=True, on_non_finite="skip")
    first = step(client, session, "a", **W)
    skipped = binary_step(client, session, BAD, headers={"idempotency-key": '"b"'})
    assert skipped.status_code == 200

    def add(document: dict[str, Any]) -> None:
        document["later"] = document["applied"]["later"] = document["skipped"]["later"] = {"a": [1]}
        document["tensors"] = [[*row, "later"] for row in document["tensors"]]

    rewrite(store, session, add, b"later")
    for keys in store._keys.values():
        for digest, (used_at, row) in keys.items():
            keys[digest] = used_at, row.replace(b"{", b'{"later":1,', 1)
    again = [step(client, session, "a", **W), binary_step(client, session, BAD, headers={"idempotency-key": '"b"'})]
    assert [answer.content for answer in again] == [first.content, skipped.content]
    assert stepped(client, session, "c", **GRADS)["step"] == 2
    assert problem(step(client, session, "a", **W), 409, "step_conflict")["applied_as_step"] == 1
    assert len(client.get("/v1/sessions").json()["sessions"]) == 1


@pytest.mark.parametrize("place", ["config", "hyperparameters"])
def test_settings_of_a_later_version_are_refused_by_name(store: MemoryStore, client: Client, place: str) -> None:
    """Refuse the session, because its steps would differ without the setting."""
    session = create(client)
    other = create(client)
    rewrite(store, session, lambda document: _within(document, place).update(warp=9))
    for answer in (client.get(session), step(client, session, **W)):
        refused = problem(answer, 503, "store_unavailable")
        assert "warp" in refused["detail"]
        assert "run the version that wrote it" in refused["detail"]
        assert answer.headers["x-should-retry"] == "false"
    listed = client.get("/v1/sessions").json()
    assert [found["id"] for found in listed["sessions"]] == [other.rpartition("/")[2]]
    assert listed["unreadable"] == [{"id": session.rpartition("/")[2], "code": "store_unavailable"}]


def _within(document: dict[str, Any], place: str) -> dict[str, Any]:
    found: dict[str, Any] = document["config"] if place == "config" else document["config"]["hyperparameters"]
    return found


@pytest.fixture
def old(store: MemoryStore, client: Client) -> tuple[str, httpx2.Response]:
    """Return a session at step 2 in format 1, whose document has the keys of both steps; and its last answer."""
    session = create(client, hold_params=True)
    bodies = [orjson.dumps(body) for body in (W, GRADS)]
    first, last = [client.post(f"{session}/steps", content=body, headers=JSON) for body in bodies]
    assert first.status_code == last.status_code == 200
    digests = [checksum_of(body) for body in bodies]

    def as_format_1(document: dict[str, Any]) -> None:
        document["format"] = 1
        document["keys"] = [["one", 1, digests[0], False], ["two", 2, digests[1], False]]
        document["applied"] |= {"key": "two", "body": digests[1]}
        del document["applied"]["params_digest"]

    rewrite(store, session, as_format_1, form=1)
    return session, last


JSON = {"content-type": "application/json"}


def sent(client: Client, session: str, key: str, body: dict[str, Any]) -> httpx2.Response:
    headers = JSON | {"idempotency-key": f'"{key}"'}
    return client.post(f"{session}/steps", content=orjson.dumps(body), headers=headers)


@pytest.mark.parametrize("meanwhile", ["nothing", "a step", "other settings", "other parameters"])
def test_the_keys_of_format_1_are_recognized(client: Client, old: tuple[str, httpx2.Response], meanwhile: str) -> None:
    session, last = old
    if meanwhile == "a step":
        stepped(client, session, **GRADS)
    elif meanwhile == "other settings":
        client.patch(session, json={"labels": {"a": "b"}})
    elif meanwhile == "other parameters":
        assert client.put(f"{session}/params", json={"params": W["params"]}).status_code == 204
    for _ in range(2):
        assert problem(sent(client, session, "one", W), 409, "step_conflict")["applied_as_step"] == 1
        assert problem(sent(client, session, "one", GRADS), 422, "idempotency_mismatch")["step"] == 1
        patched = client.patch(session, json={}, headers={"idempotency-key": '"one"'})
        assert problem(patched, 422, "idempotency_mismatch")["step"] == 1
        again = sent(client, session, "two", GRADS)
        if meanwhile in {"nothing", "other settings"}:
            assert (again.content, again.headers["idempotent-replayed"]) == (last.content, "true")
        else:
            assert problem(again, 409, "step_conflict")["applied_as_step"] == 2


def test_a_format_1_step_is_recognized_by_number(client: Client, old: tuple[str, httpx2.Response]) -> None:
    session, last = old
    taken = client.post(f"{session}/steps", content=orjson.dumps(GRADS | {"step": 2}), headers=JSON)
    problem(taken, 409, "step_conflict")  # its body had no number
    assert sent(client, session, "two", GRADS).content == last.content
    assert sent(client, session, "three", GRADS).json()["step"] == 3
