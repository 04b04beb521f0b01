"""Sessions made of a state file, and files that name no digest."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import SAFETENSORS, binary_step, bits, create, path_of, problem, read_binary, serving
from tests.service.state_files import SETTINGS, download, made_of, rewritten, session_of, some_params, train, upload
from tests.wire import package

BINARY = {"content-type": SAFETENSORS}


@pytest.mark.parametrize(("optimizer", "settings", "kinds"), SETTINGS)
def test_a_session_created_from_a_state_continues_bit_for_bit(
    client: Client, optimizer: str, settings: dict[str, Any], kinds: set[str]
) -> None:
    hold = settings.get("hold_params", False)
    about = {"labels": {"run": "1", "": "é\n"}, "ttl_seconds": 3600, "clip": {"value": 0.5}}
    first = create(client, optimizer, **settings, **about)
    params = train(client, first, some_params(), range(1, 5), hold)
    answer = made_of(client, download(client, first))
    assert answer.status_code == 201
    second, before = path_of(answer), client.get(first).json()
    assert answer.headers["location"] == f"sessions/{answer.json()['id']}"
    assert answer.headers["etag"] == client.get(second).headers["etag"]
    assert answer.json() == client.get(second).json()
    own = {"id", "created_at", "updated_at", "expires_at"}
    assert {name for name in before if before[name] != answer.json()[name]} - {"warnings"} == own
    assert client.get(f"{second}/history").json() == {"history": []}
    after = [bits(train(client, session, params, range(5, 8), hold)) for session in (first, second)]
    assert after[0] == after[1]


@pytest.mark.parametrize("media_type", [SAFETENSORS, "application/octet-stream", "Application/Vnd.Safetensors; a=b"])
def test_a_state_file_has_either_media_type(client: Client, media_type: str) -> None:
    file = download(client, create(client))
    assert made_of(client, file, headers={"content-type": media_type}).status_code == 201


def test_a_session_without_a_step_is_made_anew(client: Client) -> None:
    answer = made_of(client, download(client, create(client, labels={"a": "b"})))
    assert (answer.status_code, answer.json()["step"], answer.json()["labels"]) == (201, 0, {"a": "b"})


def test_default_groups_stay_not_given(client: Client) -> None:
    session = create(client)
    one = {"w": np.float32([1])}
    read_binary(binary_step(client, session, one, one))
    answer = made_of(client, download(client, session))
    assert answer.json()["warnings"] == client.get(session).json()["warnings"] == []


def test_a_session_made_of_a_state_counts_against_the_quota() -> None:
    with serving(max_sessions=2) as client:
        file = download(client, create(client))
        assert made_of(client, file).status_code == 201
        problem(made_of(client, file), 403, "quota_exceeded")
    with serving(max_state_bytes=150) as client:
        session = create(client)
        ten = {"w": np.ones(10, np.float32)}
        read_binary(binary_step(client, session, ten, ten))
        problem(made_of(client, download(client, session)), 403, "quota_exceeded")
        assert len(client.get("/v1/sessions").json()["sessions"]) == 1


def test_a_creation_that_comes_twice_makes_one_session(client: Client) -> None:
    file = download(client, create(client))
    headers = {**BINARY, "idempotency-key": '"k"'}
    first, again = (made_of(client, file, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"


def _set(**members: Any) -> Any:
    return lambda document: document.update(members)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"labels": {"run": 3}}, "labels.run"),
    ({"labels": {str(i): "" for i in range(65)}}, "labels"),
    ({"ttl_seconds": -1}, "ttl_seconds"),
    ({"ttl_seconds": "60"}, "ttl_seconds"),
    ({"optimizer": "adamx"}, "adamx"),
    ({"step": 3, "digest": None}, "names no digest"),
    ({"step": 3}, "its digest"),
    ({"format": 99}, "format 99"),
]


@pytest.mark.parametrize(("members", "words"), REFUSED)
def test_a_file_with_invalid_members_creates_no_session(client: Client, members: dict[str, Any], words: str) -> None:
    file = rewritten(download(client, create(client)), _set(**members))
    assert words in problem(made_of(client, file), 422, "invalid_state")["detail"]
    assert len(client.get("/v1/sessions").json()["sessions"]) == 1


def test_members_of_tomorrow_in_a_file_are_ignored(client: Client) -> None:
    file = rewritten(download(client, create(client)), _set(member_of_tomorrow=1))
    assert made_of(client, file).status_code == 201


@pytest.mark.parametrize(
    ("file", "status", "code"),
    [
        (b"", 400, "malformed_body"),
        (b"{}", 400, "malformed_body"),
        (package.save({}, {"about": "x"}), 422, "invalid_state"),
    ],
)
def test_what_is_no_state_file_makes_no_session(client: Client, file: bytes, status: int, code: str) -> None:
    problem(made_of(client, file), status, code)
    assert client.get("/v1/sessions").json()["sessions"] == []


def by_hand(moments: Mapping[str, Any], step: int, **members: Any) -> bytes:
    """Return a file as docs/state-files.md has it made, of `m` and `v`."""
    arrays = {f"{slot}/{name}": array for name, pair in moments.items() for slot, array in zip("mv", pair, strict=True)}
    tensors = {name: {"shape": pair[0].shape, "dtype": "float32", "step": step} for name, pair in moments.items()}
    session = {"format": 1, "optimizer": "adamw", "step": step, "skipped_steps": 0, "tensors": tensors, **members}
    return package.save(arrays, {"session": json.dumps(session)})


MOMENTS = {"w": (np.full((1, 2), 0.25, np.float32), np.full((1, 2), 0.5, np.float32))}


def test_moments_from_elsewhere_are_brought_in(client: Client) -> None:
    session = create(client, hyperparameters={"lr": 0.1, "weight_decay": 0.0})
    file = by_hand(MOMENTS, 3)
    answer = client.put(f"{session}/state?digest=none", content=file, headers=BINARY)
    assert (answer.status_code, answer.content) == (204, b"")
    about = client.get(session).json()
    assert (about["step"], about["tensors"]["w"]["step"]) == (3, 3)
    grads = {"w": np.ones((1, 2), np.float32)}
    params, _ = read_binary(binary_step(client, session, grads, {"w": np.zeros((1, 2), np.float32)}, step=4))
    m, v = 0.9 * 0.25 + 0.1, 0.999 * 0.5 + 0.001
    expected = -0.1 * (m / (1 - 0.9**4)) / (np.sqrt(v / (1 - 0.999**4)) + 1e-8)
    np.testing.assert_allclose(params["w"], expected, rtol=1e-6)


def test_a_file_without_a_digest_is_refused_with_a_hint(client: Client) -> None:
    session = create(client)
    before = client.get(session).content
    for answer in (upload(client, session, by_hand(MOMENTS, 3)), made_of(client, by_hand(MOMENTS, 3))):
        assert "PUT …/state?digest=none" in problem(answer, 422, "invalid_state")["detail"]
    assert client.get(session).content == before


def test_a_wrong_digest_is_refused_even_with_digest_none(client: Client) -> None:
    session = create(client)
    for digest, words in (("0" * 32, "leave its digest out"), ("none", "digits, not 'none'"), (3, "digits, not 3")):
        file = by_hand(MOMENTS, 3, digest=digest)
        answer = client.put(f"{session}/state?digest=none", content=file, headers=BINARY)
        assert words in problem(answer, 422, "invalid_state")["detail"]
    file = download(client, session)
    assert client.put(f"{session}/state?digest=none", content=file, headers=BINARY).status_code == 204


@pytest.mark.parametrize(
    "query", ["?digest=", "?digest=None", "?digest=sha256", "?digest=none&digest=none", "?digests=none"]
)
def test_another_digest_than_none_cannot_be_asked_for(client: Client, query: str) -> None:
    session = create(client)
    answer = client.put(f"{session}/state{query}", content=by_hand(MOMENTS, 3), headers=BINARY)
    problem(answer, 400, "malformed_query")
    problem(made_of(client, download(client, session), "?digest=none"), 400, "malformed_query")


def test_a_tensor_with_more_steps_than_its_session_is_refused(client: Client) -> None:
    file = rewritten(by_hand(MOMENTS, 3), _set(step=2))
    answer = client.put(f"{create(client)}/state?digest=none", content=file, headers=BINARY)
    refused = problem(answer, 422, "invalid_state")
    assert (refused["tensor"], "has taken 3 steps in the file, its session 2" in refused["detail"]) == ("w", True)


def test_a_made_file_becomes_one_with_a_digest(client: Client) -> None:
    session = create(client)
    client.put(f"{session}/state?digest=none", content=by_hand(MOMENTS, 3), headers=BINARY)
    file = download(client, session)
    assert session_of(file)["digest"] == client.get(session).json()["digest"]
    assert made_of(client, file).status_code == 201
