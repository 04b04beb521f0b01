"""States that are saved to a file, and loaded into the same session, another one, or a new one."""

import json
from pathlib import Path
from typing import Any

import pytest
from optim_client import InternalServerError, InvalidState

from tests.bodies import encode
from tests.client.conftest import Connect
from tests.client.documents import SESSION
from tests.client.scripted import SESSION_ANSWER, Answer, ScriptedServer, session_of
from tests.client.training import bits, some_params, train


def with_etag(answer: Answer, etag: str) -> Answer:
    return Answer(answer.status, answer.body, {"ETag": etag})


def test_a_state_is_loaded_whatever_the_session_has_come_to(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"state")
    ahead = Answer(body=json.dumps({**SESSION, "step": 99}).encode())
    script = [
        with_etag(SESSION_ANSWER, '"1"'), with_etag(ahead, '"5"'), Answer(500, headers={"X-Should-Retry": "false"}),
        with_etag(ahead, '"6"'), Answer(204, headers={"ETag": '"7"'}), with_etag(SESSION_ANSWER, '"7"'),
    ]  # fmt: skip
    with ScriptedServer(*script) as server:
        session = session_of(connect(server.url))
        with pytest.raises(InternalServerError):
            session.load_state(tmp_path / "state")
        assert session.info.step == 41  # the caller still has the parameters of that step
        assert session.load_state(tmp_path / "state").step == 41
    assert [seen.headers.get("if-match") for seen in server.seen if seen.method == "PUT"] == ['"5"', '"6"']


def test_a_saved_state_goes_on_elsewhere(client: Any, unbroken: dict[str, Any], tmp_path: Path) -> None:
    first = client.sessions.create("adamw", lr=0.01)
    params = train(first, some_params(), range(1, 6))
    first.save_state(tmp_path / "state.safetensors")

    second = client.sessions.create("adamw", lr=0.01)
    assert second.load_state(tmp_path / "state.safetensors").step == 5
    assert second.digest == first.digest
    assert bits(train(second, params, range(6, 11))) == unbroken


def test_a_session_is_made_of_a_saved_state(client: Any, unbroken: dict[str, Any], tmp_path: Path) -> None:
    first = client.sessions.create("adamw", lr=0.01, labels={"run": "1"}, clip=None)
    params = train(first, some_params(), range(1, 6))
    first.save_state(tmp_path / "state.safetensors")
    second = client.sessions.create_from_state(tmp_path / "state.safetensors")
    assert (second.info.step, second.info.labels, second.digest) == (5, {"run": "1"}, first.digest)
    assert bits(train(second, params, range(6, 11))) == unbroken
    second.update(lr=0.5)  # with the ETag of its creation


def test_a_file_without_a_digest_needs_the_option(client: Any, tmp_path: Path) -> None:
    session = {"format": 1, "optimizer": "sgd", "step": 3, "skipped_steps": 0, "tensors": {}}
    (tmp_path / "made").write_bytes(encode({}, {"session": json.dumps(session)}))
    other = client.sessions.create("sgd")
    with pytest.raises(InvalidState, match=r"digest=none"):
        other.load_state(tmp_path / "made")
    assert other.load_state(tmp_path / "made", digest="none").step == other.info.step == 3


def test_a_state_of_another_optimizer_is_refused(client: Any, tmp_path: Path) -> None:
    adam = client.sessions.create("adam", lr=0.01)
    train(adam, some_params(), range(1, 2))
    adam.save_state(tmp_path / "state")
    with pytest.raises(InvalidState):
        client.sessions.create("rmsprop", lr=0.01).load_state(tmp_path / "state")
