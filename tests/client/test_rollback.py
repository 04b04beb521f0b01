"""A session that went back: a loss is raised by the next call, and what somebody rewound is none."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import PreconditionFailed, StateLost, StepConflict
from optim_client._calls import preview
from optim_client._event import Mark
from optim_client._rollback import noticing, was_rewound
from optim_client._state import SessionState
from optim_client.documents import SessionInfo

from tests.client.conftest import Connect
from tests.client.documents import SESSION, W, error_of
from tests.client.scripted import SESSION_ANSWER, Answer, ScriptedServer, session_of
from tests.client.training import bits

GRADS = {"w": np.float32([1, 2])}

Lose = Callable[..., Any]


def behind_its_proxy(session: Any) -> Any:
    """Return the session itself, also of an async client."""
    return getattr(session, "_target", session)


@pytest.fixture
def lose(connect: Connect, tmp_path: Path) -> Lose:
    """Return a function that returns a session at step 4 for its client, whose store has been put back to step 2."""

    def lose(change: Callable[[Any], None] = lambda _: None, **settings: Any) -> Any:
        before, after = f"lmdb:{tmp_path}/before", f"lmdb:{tmp_path}/after"
        with connect(before) as client:
            session = client.sessions.create("sgd", lr=1.0, hold_params=True, undo=2, **settings)
            session.put_params(GRADS)
            for _ in range(2):
                session.step(grads=GRADS)
        shutil.copytree(tmp_path / "before", tmp_path / "after")
        with connect(before) as client:
            ahead = client.sessions.get(session.id)
            for _ in range(2):
                ahead.step(grads=GRADS)
        client = connect(after)
        change(client.sessions.get(session.id))
        old = client.sessions.get(session.id)
        behind_its_proxy(old).info, behind_its_proxy(old)._etag = ahead.info, behind_its_proxy(ahead)._etag
        return old

    return lose


CALLS: list[Callable[[Any], Any]] = [
    lambda session: session.step(grads=GRADS),
    lambda session: session.preview(grads=GRADS),
    lambda session: session.update(lr=0.5),
    lambda session: session.put_params(GRADS),
    lambda session: session.undo(),
]


def test_each_call_that_needs_the_lost_steps_says_so(lose: Lose) -> None:
    session = lose()
    for call in CALLS:
        with pytest.raises(StateLost, match=r"answered step 4, .* is at step 2.*session\.get\(\)") as raised:
            call(session)
        assert (raised.value.session_id, raised.value.known_step, raised.value.current_step) == (session.id, 4, 2)


def test_a_loss_is_told_once_and_then_accepted(lose: Lose) -> None:
    session = lose()
    with pytest.raises(StateLost):
        session.get()
    assert session.info.step == 4
    assert session.get().step == 2
    for _ in range(2):
        params = session.step(grads=GRADS)
    assert (session.info.step, bits(params)) == (4, bits({"w": np.float32([-3, -6])}))


def test_a_loaded_state_is_a_way_out(lose: Lose, tmp_path: Path) -> None:
    session = lose()
    with pytest.raises(StateLost):
        session.step(grads=GRADS)
    session.save_state(tmp_path / "state")
    assert session.load_state(tmp_path / "state").step == 2
    session.step(grads=GRADS)


def test_a_session_that_was_undone_is_not_lost(client: Any) -> None:
    session = client.sessions.create("sgd", lr=1.0, undo=2)
    other = client.sessions.get(session.id)
    for _ in range(3):
        session.step(GRADS, GRADS)
    other.get()
    other.undo()
    with pytest.raises(StepConflict):
        session.step(GRADS, GRADS)
    with pytest.raises(PreconditionFailed):
        session.update(lr=0.5)
    assert session.get().step == 2


def test_a_change_of_a_rewound_session_hides_no_mark(client: Any) -> None:
    session = client.sessions.create("sgd", lr=1.0, undo=1)
    session.step(GRADS, GRADS)
    client.sessions.get(session.id).undo()
    behind_its_proxy(session)._etag = None  # as behind a proxy that compresses answers
    session.update(lr=0.5)
    with pytest.raises(StepConflict):
        session.step(GRADS, GRADS)


def test_a_session_with_a_state_from_before_is_not_lost(client: Any, tmp_path: Path) -> None:
    session = client.sessions.create("sgd", lr=1.0)
    session.step(GRADS, GRADS)
    session.save_state(tmp_path / "state")
    other = client.sessions.get(session.id)
    for _ in range(2):
        session.step(GRADS, GRADS)
    other.load_state(tmp_path / "state")
    with pytest.raises(StepConflict):
        session.step(GRADS, GRADS)
    assert session.get().step == 1


def test_a_worker_is_told_of_a_loss_and_joins_again(lose: Lose) -> None:
    worker = lose(lambda session: session.update(workers={})).worker("w")
    with pytest.raises(StateLost, match=r"join\(\)"):
        worker.join()
    with worker:
        assert worker.step == 2
        for call in (lambda: worker.contribute(GRADS), worker.params):
            behind_its_proxy(worker).step = 4  # as if it had been there when the store went back
            with pytest.raises(StateLost):
                call()
        worker.join()
        worker.contribute(GRADS)
        assert worker.step == 3


def test_steps_that_are_answered_meanwhile_are_not_lost() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    refused = noticing(state, preview("s-1", 42, W, W))
    next(refused)
    state.info = replace(state.info, step=43)
    with pytest.raises(StepConflict):
        refused.throw(error_of("step_conflict", current_step=42))


def answers(*marks: str) -> list[Answer]:
    refusal = Answer(409, b'{"code": "step_conflict", "detail": "behind", "current_step": 39}')
    return [SESSION_ANSWER, refusal, Answer(body=b'{"history": [], "marks": [%s]}' % ", ".join(marks).encode())]


def test_a_conflict_costs_one_more_call(connect: Connect) -> None:
    with ScriptedServer(*answers()) as server, pytest.raises(StateLost):
        session_of(connect(server.url)).step(W, W)
    assert server.seen[-1].path == "/v1/sessions/s-1/history?points=1"


def test_a_session_that_is_ahead_asks_for_no_marks(connect: Connect) -> None:
    refusal = Answer(409, b'{"code": "step_conflict", "detail": "ahead", "current_step": 50}')
    with ScriptedServer(SESSION_ANSWER, refusal) as server, pytest.raises(StepConflict):
        session_of(connect(server.url)).step(W, W)


def test_a_service_without_marks_leaves_the_refusal(connect: Connect) -> None:
    unknown = Answer(400, b'{"code": "malformed_query", "detail": "unknown parameter points"}')
    with ScriptedServer(*answers()[:2], unknown) as server, pytest.raises(StepConflict):
        session_of(connect(server.url)).step(W, W)


@pytest.mark.parametrize(
    ("mark", "is_rewound"),
    [
        ({"undone": 41}, True),
        ({"undone": 40}, False),
        ({"changed": {"step": [45, 40]}}, True),
        ({"changed": {"step": [41, 0]}}, True),
        ({"changed": {"step": [40, 10]}}, False),
        ({"changed": {"step": [45, 41]}}, False),
        ({"changed": {"lr": [0.1, 0.2]}}, False),
        ({"undone": 41, "time": "2026-11-20T07:00:00Z"}, False),
    ],
)
def test_a_newer_mark_that_leads_below_a_step_rewinds(mark: dict[str, Any], is_rewound: bool) -> None:
    info = replace(SessionInfo.read(SESSION), updated_at=datetime.fromisoformat("2026-11-20T08:00:00Z"))
    made = Mark.read({"time": "2026-11-20T09:00:00Z", **mark})
    assert was_rewound([made], info, 41) == is_rewound
