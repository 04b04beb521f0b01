"""The verbs of a session: its history, its tensors, held parameters, and other clients that change it."""

import json
from typing import Any

import numpy as np
import pytest
from optim_client import (
    InvalidSession,
    PreconditionFailed,
    StepConflict,
    StepMismatch,
    TensorHealth,
    TensorMismatch,
    UndoUnavailable,
)

from tests.client.conftest import Connect
from tests.client.documents import ROW
from tests.client.scripted import SESSION_ANSWER, Answer, ScriptedServer, session_of
from tests.client.training import bits, grads_for, some_params


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


def test_held_parameters_are_given_once_and_stepped_with_grads_alone(client: Any, unbroken: dict[str, Any]) -> None:
    session = client.sessions.create("adamw", lr=0.01, hold_params=True)
    session.put_params(some_params())
    assert bits(session.params()) == bits(some_params())
    for number in range(1, 11):
        params = session.step(grads=grads_for(some_params(), number))
    assert bits(params) == bits(session.params()) == unbroken


def test_rows_of_held_parameters_are_read(client: Any) -> None:
    session = client.sessions.create("adamw", hold_params=True)
    w = np.arange(8, dtype=np.float32).reshape(4, 2)
    session.put_params({"w": w, "b": w[0]})
    rows = session.rows({"w": np.array([0, 3]), "b": []})
    assert bits(rows) == bits({"w": w[[0, 3]], "b": w[0][:0]})
    with pytest.raises(TensorMismatch, match="row 4 is out of range"):
        session.rows({"w": [4]})


def test_the_health_of_tensors_is_read(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.5, hold_params=True)
    session.step({"w": np.float32([4, 0])}, {"w": np.float32([2, 0])})
    assert session.tensor_health() == {"w": TensorHealth(3.0, None, None, 1.0, 1 / 3, 0.5)}
    session.put_params({"w": np.float32([np.inf, 0])})
    assert session.tensor_health()["w"].param_norm == np.inf


def test_tensors_are_renamed_removed_and_reset(client: Any) -> None:
    session = client.sessions.create("adamw", lr=0.01, hold_params=True)
    w = np.float32([1, 2])
    session.put_params({"a": w, "b": 2 * w, "c": 3 * w})
    session.step(grads={"a": w, "b": w, "c": w})
    info = session.edit_tensors(rename={"a": "b", "b": "a"}, remove=["c"])
    assert list(info.tensors) == ["b", "a"]
    session.edit_tensors(reset=["a"])
    assert session.info.tensors["a"].step == 0
    assert list(session.step(grads={"a": w, "b": w})) == ["a", "b"]
    with pytest.raises(TensorMismatch, match="no such tensor") as raised:
        session.edit_tensors(remove=["x"])
    assert raised.value.tensor == "x"
    with pytest.raises(TypeError, match="remove must be a list of names"):
        session.edit_tensors(remove="a")
    assert session.get().step == 2


def test_a_skipped_step_returns_the_parameters_unnumbered(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.1, on_non_finite="skip")
    w = {"w": np.float32([1, 2])}
    assert bits(session.step(w, {"w": np.float32([np.inf, 0])})) == bits(w)
    session.step(w, {"w": np.float32([np.inf, 0])})  # the same step again, which is answered and not counted
    assert session.skipped
    assert not np.isfinite(session.metrics.grad_norm)
    session.step(w, w)
    assert not session.skipped
    assert session.info.skipped_steps == 1
    assert (session.get().step, session.info.skipped_steps) == (1, 1)
    assert [(row.step, row.skipped) for row in session.history()] == [(0, True), (1, False)]


def test_a_skipped_step_of_its_number_updates_a_stale_client(client: Any) -> None:
    w = {"w": np.float32([1, 2])}
    quick = client.sessions.create("sgd", lr=0.1, on_non_finite="skip")
    stale = client.sessions.get(quick.id)
    quick.step(w, w)
    stale.step(w, {"w": np.float32([np.nan, 0])}, step=2)
    assert (stale.skipped, stale.info.step) == (True, 1)


def test_a_stale_client_goes_on_after_get(client: Any) -> None:
    w = {"w": np.float32([1, 2])}
    quick = client.sessions.create("sgd", lr=0.1)
    stale = client.sessions.get(quick.id)
    moved = quick.step(w, w)
    with pytest.raises(StepConflict, match=r"session.get\(\)") as raised:
        stale.step(w, {"w": np.float32([3, 4])})
    assert raised.value.current_step == 1
    assert stale.get().step == 1
    stale.step(moved, w)
    assert stale.info.step == 2


def test_changing_a_setting_does_not_hide_that_another_client_stepped(client: Any) -> None:
    w = {"w": np.float32([1, 2])}
    quick = client.sessions.create("sgd", lr=0.1)
    stale = client.sessions.get(quick.id)
    quick.step(w, w)
    with pytest.raises(PreconditionFailed):
        stale.update(lr=0.2)
    assert client.sessions.update(quick.id, lr=0.2).info.hyperparameters["lr"] == 0.2
    with pytest.raises(StepConflict):
        stale.step(w, {"w": np.float32([3, 4])})


def test_a_preview_is_the_answer_of_the_step_after_it(client: Any) -> None:
    session = client.sessions.create("adamw", lr=0.01, hold_params=True, wire_dtype="bfloat16")
    session.put_params({"w": np.float32([1, 2])})
    before, info, history = session.info, session.get(), session.history()
    preview = session.preview(grads={"w": np.float32([0.5, 2])}, lr=0.5)
    assert (session.info, session.metrics, session.get(), session.history()) == (info, None, info, history)
    assert before.step == 0
    params = session.step(grads={"w": np.float32([0.5, 2])}, lr=0.5)
    assert bits(preview.params) == bits(params)
    assert preview.params["w"].dtype == np.float32
    assert (preview.step, preview.digest, preview.skipped) == (1, session.digest, False)
    assert (preview.metrics, preview.params_digest) == (session.metrics, session.params_digest)
    assert session.preview(grads={"w": np.float32([2, 2])}, grad_scale=4, overrides={"lr": 0.25}).metrics.lr == 0.25
    with pytest.raises(TypeError, match=r"preview\(\) needs grads"):
        session.preview({"w": np.float32([1, 2])})


def test_a_preview_has_the_structure_of_its_parameters(client: Any) -> None:
    session = client.sessions.create("adamw", lr=0.01)
    tree = {"a": [np.float32([1, 2])], "b": np.float32(1)}
    preview = session.preview(tree, {"a": [np.float32([1, 2])], "b": None})
    assert preview.params["b"] is tree["b"]
    assert preview.params["a"][0].shape == (2,)


def test_a_fork_goes_on_alone(client: Any) -> None:
    session = client.sessions.create("adamw", lr=0.01, labels={"run": "1"}, ttl_seconds=3600)
    params = session.step(some_params(), grads_for(some_params(), 1))
    fork = session.fork(labels={"run": "2"})
    assert (fork.digest, fork.info.step, fork.history()) == (session.digest, 1, [])
    assert (fork.info.labels, fork.info.ttl_seconds) == ({"run": "2"}, 3600)
    moved = [each.step(params, grads_for(params, 2)) for each in (session, fork)]
    assert bits(moved[0]) == bits(moved[1])
    fork.update(lr=1.0)
    assert session.get().hyperparameters["lr"] == 0.01


def test_a_fork_is_of_the_session_that_the_client_knows(client: Any) -> None:
    w = {"w": np.float32([1, 2])}
    quick = client.sessions.create("sgd", lr=0.1)
    stale = client.sessions.get(quick.id)
    quick.step(w, w)
    with pytest.raises(PreconditionFailed):
        stale.fork()
    stale.get()
    assert stale.fork().info.step == 1


def test_an_undone_session_steps_on_to_the_same_bits(client: Any) -> None:
    session = client.sessions.create("adamw", lr=0.01, undo=2)
    first = session.step(some_params(), grads_for(some_params(), 1))
    digest = session.digest
    second = session.step(first, grads_for(first, 2))
    session.update(labels={"run": "2"})
    info = session.undo(2)
    assert (info.step, info.rewinds, info.undo, info.digest, session.digest) == (1, 1, 2, digest, digest)
    assert [row.undone for row in session.history()] == [False, True]
    assert bits(session.step(first, grads_for(first, 2))) == bits(second)
    assert session.undo().step == 1
    assert session.undo().step == 0
    session.step(some_params(), grads_for(some_params(), 1))


def test_a_client_undoes_only_the_session_that_it_knows(client: Any) -> None:
    w = {"w": np.float32([1, 2])}
    session = client.sessions.create("sgd", lr=0.1, undo=1)
    stale = client.sessions.get(session.id)
    session.step(w, w)
    session.step(w, w)
    with pytest.raises(PreconditionFailed):
        stale.undo(2)
    with pytest.raises(StepConflict) as conflict:
        session.undo(1)
    assert (conflict.value.current_step, conflict.value.undone) == (2, False)
    session.undo()
    with pytest.raises(UndoUnavailable, match=r"load_state\(path\) puts a saved state back") as refusal:
        session.undo()
    assert refusal.value.current_step == 1


def test_a_step_may_return_no_parameters(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.5, hold_params=True)
    session.put_params({"w": np.float32([1, 2])})
    assert session.step(grads={"w": np.float32([2, 2])}, return_params=False) is None
    assert (session.info.step, session.skipped) == (1, False)
    assert session.params()["w"].tolist() == [0, 1]
    assert session.params_digest


def test_parameters_that_nobody_holds_are_returned(client: Any) -> None:
    session = client.sessions.create("sgd")
    with pytest.raises(ValueError, match="return_params=False needs a session with hold_params"):
        session.step({"w": np.float32(1)}, {"w": np.float32(1)}, return_params=False)
    assert session.get().step == 0


def test_a_step_may_divide_its_gradients(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.5)
    params = session.step({"w": np.float32(1)}, {"w": np.float32(2048)}, grad_scale=np.float32(1024))
    assert (params["w"], session.metrics.grad_norm) == (0, 2)
    with pytest.raises(TypeError, match="grad_scale must be a number, not 'a lot'"):
        session.step(params, params, grad_scale="a lot")


def test_a_step_may_have_overrides(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.5)
    one = {"w": np.float32(1), "bias": np.float32(1)}
    overrides = {"lr": np.float32(2), "groups": {0: {"lr": 3}}}
    params = session.step(one, one, overrides=overrides)
    assert (params["w"], params["bias"], session.metrics.lr) == (-1, -2, 2)
    with pytest.raises(InvalidSession, match="unknown group") as raised:
        session.step(one, one, overrides={"groups": {"1": {}}})
    assert raised.value.status == 422
    with pytest.raises(ValueError, match=r"overrides\.lr must be a finite number"):
        session.step(one, one, overrides={"lr": float("nan")})


def test_a_step_may_have_its_number(client: Any) -> None:
    session = client.sessions.create("adamw", lr=0.1, undo=1)
    start = {"w": np.float32([1, 2])}
    first = session.step(start, start, loss=0.5, step=1)
    after_crash = client.sessions.get(session.id)
    assert bits(after_crash.step(start, start, loss=0.5, step=1)) == bits(first)
    assert (after_crash.info.step, after_crash.get().step) == (1, 1)
    other = {"w": np.float32([3, 4])}
    for step in (after_crash.step, after_crash.preview):
        with pytest.raises(StepConflict) as raised:
            step(start, other, step=1)
        assert raised.value.current_step == 1
    with pytest.raises(StepConflict) as raised:
        after_crash.step(start, other, step=1)
    assert "step=1, is answered" in raised.value.__notes__[0]
    after_crash.undo(1)
    after_crash.step(start, other, step=1)
    with pytest.raises(StepConflict) as raised:
        after_crash.step(start, other, step=3)
    assert not hasattr(raised.value, "__notes__")
    with pytest.raises(TypeError, match="step must be a whole number, not 'two'"):
        after_crash.step(start, other, step="two")
