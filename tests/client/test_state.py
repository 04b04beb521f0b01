"""A session's knowledge of itself: its step, its ETag and its warnings, as the answers tell them."""

import json
from typing import Any

import numpy as np
import pytest
from optim_client import Metrics, ParamsConflict, PreconditionFailed, SessionInfo
from optim_client._state import SessionState
from optim_client._tensors import decode

from tests.bodies import in_one
from tests.client.conftest import Connect
from tests.client.documents import METRICS, SESSION, W, stepped
from tests.client.scripted import SESSION_ANSWER, STEPPED, Answer, ScriptedServer, session_of


def with_etag(answer: Answer, etag: str) -> Answer:
    return Answer(answer.status, answer.body, {"ETag": etag})


def test_a_step_moves_what_the_client_knows() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    params = state._step(W, W).read(stepped(W, step=42, digest="new"))
    assert np.array_equal(params["w"], W["w"])
    assert (state.info.step, state.digest, state.skipped) == (42, "new", False)
    assert state.metrics == Metrics(**METRICS)
    assert repr(state) == "<SessionState s-1 adamw at step 42, lr 0.001, 1 tensor of 8 bytes>"


def test_the_answer_has_the_order_of_the_gradients() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    tensors = {"b": 1.0, "c": 2.0, "a": 3.0}
    assert list(state._step(tensors, tensors).read(stepped(tensors, step=42))) == ["b", "c", "a"]


def test_an_answer_that_lacks_a_tensor_changes_nothing() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    with pytest.raises(KeyError):
        state._step({**W, "b": 1.0}, {**W, "b": 1.0}).read(stepped(W, step=42))
    assert (state.info.step, state.metrics) == (41, None)


def test_a_skipped_step_leaves_the_known_step() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    state._step(W, W).read(stepped(W, step=41, skipped=True))
    assert (state.info.step, state.skipped) == (41, True)
    body = in_one(state._step(W, W).request).body
    assert isinstance(body, bytes)
    assert decode(body, "params")[1]["step"] == "42"


def test_a_step_needs_grads() -> None:
    with pytest.raises(TypeError, match=r"step\(\) needs grads"):
        SessionState(SessionInfo.read(SESSION))._step(W, None)


def test_a_look_at_rows_forgets_no_etag(client: Any) -> None:
    session = client.sessions.create("sgd", hold_params=True)
    session.put_params(W)
    client.sessions.get(session.id).update(lr=0.5)
    session.rows({"w": [0]})
    with pytest.raises(PreconditionFailed):
        session.update(lr=0.1)


def test_changes_are_for_the_session_as_it_was_seen_last(connect: Connect) -> None:
    body = b'{"code": "precondition_failed", "detail": "changed"}'
    stepped = Answer(body=json.dumps({**SESSION, "step": 42}).encode())
    script = [
        with_etag(SESSION_ANSWER, '"1"'), with_etag(STEPPED, '"2"'), with_etag(stepped, '"3"'),
        Answer(204, headers={"ETag": '"4"'}), Answer(412, body), with_etag(stepped, '"8"'), with_etag(stepped, '"9"'),
        with_etag(stepped, '"10"'), Answer(204),
    ]  # fmt: skip
    with ScriptedServer(*script) as server:
        session = session_of(connect(server.url))
        session.step(W, W)
        session.update(lr=0.1)
        session.put_params(W)
        with pytest.raises(PreconditionFailed, match=r"changed .*session\.get\(\)"):
            session.update(lr=0.2)
        session.get()
        session.delete()
    asked = [(seen.method, seen.headers.get("if-match")) for seen in server.seen]
    assert asked == [
        ("GET", None), ("POST", None), ("PATCH", '"2"'), ("PUT", '"3"'), ("PATCH", '"4"'), ("GET", None), ("GET", None),
        ("GET", None), ("DELETE", '"10"'),
    ]  # fmt: skip


@pytest.mark.parametrize("etag", [None, 'W/"1"', "garbage"])
def test_an_unknown_etag_is_not_sent(connect: Connect, etag: str | None) -> None:
    first = SESSION_ANSWER if etag is None else with_etag(SESSION_ANSWER, etag)
    with ScriptedServer(first, SESSION_ANSWER, SESSION_ANSWER, Answer(204)) as server:
        client = connect(server.url)
        session_of(client).update(lr=0.1)
        client.sessions.update("s-1", lr=0.1)
        client.sessions.delete("s-1")
    assert not any("if-match" in seen.headers for seen in server.seen)


def test_an_answer_without_an_etag_ends_what_was_known(connect: Connect) -> None:
    with ScriptedServer(with_etag(SESSION_ANSWER, '"1"'), STEPPED, SESSION_ANSWER) as server:
        session = session_of(connect(server.url))
        session.step(W, W)
        session.update(lr=0.1)
    assert "if-match" not in server.seen[2].headers


def test_a_warning_is_kept_for_the_step_and_logged_once(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    def warned(step: int, *warnings: str) -> Answer:
        return Answer(body=stepped(W, step=step, warnings=warnings, params_digest=f"p{step}").body)

    with ScriptedServer(
        SESSION_ANSWER, warned(42, "step 42: a", "b"), warned(43, "step 43: a", "b"), warned(44, "c"), warned(45)
    ) as server:
        session = session_of(connect(server.url))
        told = [(session.step(W, W), session.warnings, session.params_digest)[1:] for _ in range(4)]
    assert told == [
        (["step 42: a", "b"], "p42"), (["step 43: a", "b"], "p43"), (["c"], "p44"), ([], "p45"),
    ]  # fmt: skip
    assert caplog.messages == [
        "session s-1, step 42: a",
        "session s-1, step 42: b",
        "session s-1, step 44: c",
    ]


def test_parameters_of_another_step_are_warned_of_or_refused(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    w = {"w": np.float32([1, 2])}
    session = connect("memory:").sessions.create("sgd", lr=0.1)
    first = session.step(w, w)
    session.step(first, w)
    assert (session.warnings, caplog.messages) == ([], [])
    for _ in range(3):
        session.step(first, w)  # the parameters of a checkpoint
        assert "is not the one that was answered" in session.warnings[0]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"session {session.id}, step 3: the parameter of 'w' is not the one")
    session.update(on_other_params="reject")
    with pytest.raises(ParamsConflict, match="'w'") as raised:
        session.step(first, w)
    assert (raised.value.tensor, session.info.step) == ("w", 5)
