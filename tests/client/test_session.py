"""A session's knowledge from answers: its ETag, warnings, history, and whether it is at the step that is wanted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import InternalServerError, ParamsConflict, PreconditionFailed, StepMismatch

from tests.client.conftest import Connect
from tests.client.documents import ROW, SESSION, stepped
from tests.client.scripted import Answer, ScriptedServer

W = {"w": np.float32([1, 2])}
SESSION_ANSWER = Answer(body=json.dumps(SESSION).encode())
BUSY = Answer(503, b'{"code": "overloaded", "detail": "busy"}', {"Retry-After": "0"})
STEPPED = Answer(body=stepped(W, step=42).body)


def session_of(client: Any) -> Any:
    return client.sessions.get("s-1")


def test_a_history_is_followed_to_its_end(connect: Connect) -> None:
    def page(steps: list[int]) -> Answer:
        return Answer(body=json.dumps({"history": [{**ROW, "step": step} for step in steps]}).encode())

    first, second = [*range(1, 999), 999, 999, 999], [*range(1000, 2000)]
    with ScriptedServer(SESSION_ANSWER, page(first), page(second), page([2000]), page([7]), page([8])) as server:
        session = session_of(connect(server.url))
        assert [row.step for row in session.history(after=0)] == [*first, *second, 2000]
        assert [row.step for row in session.history(after=6, limit=1)] == [7]
        assert [row.step for row in session.history(last=1)] == [8]
    asked = [seen.path.partition("?")[2] for seen in server.seen[1:]]
    assert asked == [
        "after=0&limit=1000",
        "after=999&limit=1000",
        "after=1999&limit=1000",
        "after=6&limit=1",
        "last=1",
    ]


def test_a_session_at_another_step_is_a_step_mismatch(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, SESSION_ANSWER) as server:
        client = connect(server.url)
        assert client.sessions.get("s-1", step=41).info.step == 41
        with pytest.raises(StepMismatch, match="s-1 is at step 41, not at step 5") as raised:
            client.sessions.get("s-1", step=5)
    assert (raised.value.wanted, raised.value.current_step) == (5, 41)


def with_etag(answer: Answer, etag: str) -> Answer:
    return Answer(answer.status, answer.body, {"ETag": etag})


def test_changes_are_for_the_session_as_it_was_seen_last(connect: Connect) -> None:
    body = b'{"code": "precondition_failed", "detail": "changed"}'
    script = [
        with_etag(SESSION_ANSWER, '"1"'), with_etag(STEPPED, '"2"'), with_etag(SESSION_ANSWER, '"3"'),
        Answer(204, headers={"ETag": '"4"'}), Answer(412, body), with_etag(SESSION_ANSWER, '"9"'),
        with_etag(SESSION_ANSWER, '"10"'), Answer(204),
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
        ("DELETE", '"10"'),
    ]  # fmt: skip


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
        assert session.info.step == 41  # the parameters here are of it still
        assert session.load_state(tmp_path / "state").step == 41
    assert [seen.headers.get("if-match") for seen in server.seen if seen.method == "PUT"] == ['"5"', '"6"']


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
        session.step(first, w)  # of a checkpoint
        assert "is not the one that was answered" in session.warnings[0]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"session {session.id}, step 3: the parameter of 'w' is not the one")
    session.update(on_other_params="reject")
    with pytest.raises(ParamsConflict, match="'w'") as raised:
        session.step(first, w)
    assert (raised.value.tensor, session.info.step) == ("w", 5)
