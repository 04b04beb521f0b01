"""A worker's decisions: what it sends, what it asks, and what it makes of each answer. Without a service."""

import json
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optim_client import Contribution, NonFinite, Rows, SessionInfo, StepConflict, TopK, WorkerFenced
from optim_client._protocol import Request, Response
from optim_client._state import SessionState
from optim_client._worker_state import MOST_DOWNLOADS, WorkerState

from tests.bodies import encode
from tests.client.documents import METRICS, SESSION, W, error_of, stepped

G = {"w": np.float32([3, 4])}
NOT_MODIFIED = error_of("session_not_found")
NOT_MODIFIED.status = 304
PENDING = Response(202, {"content-type": "application/json"}, b'{"round": 42, "state": "open"}')


def worker(mode: str = "rounds", **changes: Any) -> WorkerState:
    """Return a worker that has joined with epoch 3 at step 41."""
    settings = {"workers": {"mode": mode, "lease_seconds": 6}, "hold_params": True, **changes}
    joined = WorkerState(SessionState(replace(SessionInfo.read(SESSION), **settings)), "gpu-3", 60.0)
    joined._epoch = 3
    return joined


def told(step: int = 41) -> Response:
    return Response(200, {}, json.dumps({"worker": "gpu-3", "epoch": 3, "step": step}).encode())


def held(etag: str | None = '"e"', **params: Any) -> Response:
    return Response(200, {"etag": etag} if etag else {}, encode({"params": params or W}, {}))


def after(step: int = 42, **rest: Any) -> Response:
    kind = {"content-type": "application/vnd.safetensors", "etag": f'"e{step}"'}
    return replace(stepped(W, step, **rest), headers=kind)


def round_of(*contributions: dict[str, Any], state: str = "applied", need: int = 0) -> Response:
    members = {"round": 42, "state": state, "have": 1, "need": need, "closes_at": None, "step": None, "digest": None}
    return Response(200, {}, json.dumps({**members, "contributions": contributions}).encode())


def own(fate: str | None, reason: str | None = None, epoch: int = 3) -> dict[str, Any]:
    return {"worker": "gpu-3", "epoch": epoch, "weight": 2.0, "norm": 5.0, "fate": fate, "reason": reason}


def talk(conversation: Any, *answers: Response | Exception) -> tuple[Any, list[Request]]:
    """Give the answers to a conversation's calls; return its result and its requests."""
    call, requests = next(conversation), []
    try:
        for answer in answers:
            requests.append(call.request)
            thrown = isinstance(answer, Exception)
            call = conversation.throw(answer) if thrown else conversation.send(call.read(answer))
    except StopIteration as end:
        assert len(requests) == len(answers)
        return end.value, requests
    raise AssertionError(f"one more call: {call.request.method} {call.request.path}")


def asked(requests: list[Request]) -> list[str]:
    return [f"{each.method} {each.path.removeprefix('/v1/sessions/s-1/')}" for each in requests]


def sent(request: Request) -> dict[str, str]:
    body = b"".join(request.body)
    metadata: dict[str, str] = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])["__metadata__"]
    return metadata


RENEWAL, PUSH, DOWNLOAD, LOOK = (
    "PUT workers/gpu-3", "PUT rounds/42/contributions/gpu-3", "GET params", "GET rounds/42"
)  # fmt: skip


def test_a_round_that_becomes_a_step_is_one_call() -> None:
    one = worker()
    params, [push] = talk(one._contribute(G, weight=np.int64(2), loss=0.5), after())
    assert params["w"].tolist() == [1, 2]
    assert (f"{push.method} {push.path}", push.headers["prefer"]) == (f"PUT /v1/sessions/s-1/{PUSH[4:]}", "wait=25")
    assert {"idempotency-key", "if-match"}.isdisjoint(push.headers)
    assert sent(push) == {"epoch": "3", "weight": "2.0", "loss": "0.5"}
    assert one.contribution == Contribution("gpu-3", 42, "applied", epoch=3, weight=2)
    assert (one.step, one.round, one._state.info.step, one._state.loss, one._state._etag) == (42, 43, 42, 0.5, '"e42"')


@pytest.mark.parametrize(("timeout", "wait"), [(None, "wait=25"), (60.0, "wait=25"), (5.0, "wait=2"), (0.5, "wait=1")])
def test_a_wait_is_shorter_than_the_timeout(timeout: float | None, wait: str) -> None:
    one = WorkerState(worker()._state, "gpu-3", timeout)
    one._epoch = 3
    assert talk(one._contribute(G), after())[1][0].headers["prefer"] == wait


def test_an_open_round_is_waited_for_without_another_upload(caplog: pytest.LogCaptureFixture) -> None:
    one = worker()
    caplog.set_level("INFO", "optim_client")
    open_round, applied = round_of(own(None), state="open"), round_of(own("applied"))
    params, requests = talk(one._contribute(G), PENDING, open_round, applied, told(42), held(w=G["w"]), told(42))
    assert asked(requests) == [PUSH, LOOK, LOOK, RENEWAL, DOWNLOAD, RENEWAL]
    assert [each.query for each in requests[1:3]] == [{}, {"wait": 25}]
    assert params["w"].tolist() == [3, 4]
    assert caplog.messages == ["session s-1, worker gpu-3, round 42 waits: 1 are in, and the quorum needs 0 more"]
    assert one.contribution == Contribution("gpu-3", 42, "applied", epoch=3, weight=2, norm=5)
    assert one.step == 42


def test_a_round_without_its_quorum_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    one, still = worker(), round_of(own(None), state="open", need=2)
    talk(one._contribute(G), PENDING, *[still] * 5, round_of(own("applied")), told(42), held(), told(42))
    assert caplog.messages == ["session s-1, worker gpu-3, round 42 waits: 1 are in, and the quorum needs 2 more"]


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [(error_of("round_closed", round=42, current_step=43, reason="late"), "late"), (error_of("stale"), "stale")],
)
def test_a_dropped_contribution_is_answered_with_the_newest_parameters(
    refusal: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = worker()
    params, requests = talk(
        one._contribute({"w": G["w"], "b": None}), refusal, told(43), held(w=W["w"], b=np.float32(1)), told(43)
    )
    assert asked(requests)[1:] == [RENEWAL, DOWNLOAD, RENEWAL]
    assert (params["w"].tolist(), params["b"]) == ([1, 2], 1)
    assert one.contribution == Contribution("gpu-3", 42, "dropped", reason, epoch=3)
    assert one.contribution is not None
    assert not one.contribution.applied
    assert one.round == 44
    assert caplog.messages == [f"session s-1, worker gpu-3, round 42: the contribution was dropped ({reason})"]


def test_a_contribution_from_before_a_crash_is_waited_for() -> None:
    one, refusal = worker(), error_of("contribution_mismatch")
    answers = round_of(own(None, epoch=2), state="open"), round_of(own("applied", epoch=2)), told(42), held(), told(42)
    _, requests = talk(one._contribute(G), refusal, *answers)
    assert asked(requests)[:3] == [PUSH, LOOK, LOOK]
    assert one.contribution == Contribution("gpu-3", 42, "dropped", "mismatch", epoch=3)


@pytest.mark.parametrize(("code", "kind"), [("worker_fenced", WorkerFenced), ("non_finite", NonFinite)])
def test_what_the_caller_must_decide_is_raised(code: str, kind: type[Exception]) -> None:
    one = worker()
    with pytest.raises(kind):
        talk(one._contribute(G), error_of(code))
    assert one.contribution is not None
    assert (one.contribution.fate, one.contribution.reason) == ("dropped", code.removeprefix("worker_"))
    assert one.round == 42


def test_a_skipped_contribution_leaves_the_round_open_for_another() -> None:
    one, spoiled = worker(on_non_finite="skip"), {"w": np.float32([np.inf, 0])}
    one._held, one._etag = W, '"e"'
    open_round = round_of(own("dropped", "non_finite"), state="open")
    params, requests = talk(one._contribute(spoiled), PENDING, open_round, told(), NOT_MODIFIED)
    assert "prefer" not in requests[0].headers
    assert requests[-1].headers["if-none-match"] == '"e"'
    assert params["w"] is W["w"]
    assert one.contribution is not None
    assert (one.contribution.reason, one.round) == ("non_finite", 42)
    talk(one._contribute(G), after(), round_of(own("dropped", "non_finite"), own("applied")))
    assert one.contribution.applied
    assert one.round == 43


def test_parameters_are_downloaded_once_a_step() -> None:
    one = worker()
    first, requests = talk(one._params(None), told(41), held(), told(41))
    assert asked(requests) == [RENEWAL, DOWNLOAD, RENEWAL]
    again, requests = talk(one._params(None), told(41), NOT_MODIFIED)
    assert asked(requests) == [RENEWAL, DOWNLOAD]
    assert again["w"] is first["w"]
    answered, _ = talk(one._contribute(G), after())
    again, requests = talk(one._params(None), told(42), NOT_MODIFIED)
    assert requests[-1].headers["if-none-match"] == '"e42"'
    assert again["w"] is answered["w"]


def test_a_step_of_another_thread_is_no_loss() -> None:
    one = worker()
    asking = one._newest()
    call = next(asking)
    one._state.info = replace(one._state.info, step=42)
    assert asking.send(call.read(told(41))).request.path.endswith("/params")


def test_parameters_are_never_said_to_be_of_a_later_step() -> None:
    one = worker()
    talk(one._params(None), told(41), held('"1"'), told(42), NOT_MODIFIED)
    assert one.step == 42
    moving = [each for step in range(43, 43 + MOST_DOWNLOADS) for each in (held(f'"{step}"'), told(step + 1))]
    talk(one._params(None), told(43), *moving)
    assert one.step == 42 + MOST_DOWNLOADS


def test_a_contribution_has_rows_compressed_gradients_and_a_structure() -> None:
    grads = {"layer": [Rows([1], G["w"][None]), TopK([0], G["w"][:1])], "other": None}
    whole = stepped({"layer/0": np.zeros((3, 2)), "layer/1": W["w"]}, step=42)
    answer, [push] = talk(worker()._contribute(grads), whole)
    assert b'"at/layer/1"' in bytes(push.body[0])
    assert (answer["layer"][0].shape, answer["layer"][1].tolist()) == ((3, 2), [1, 2])
    assert answer["other"] is None


def test_a_half_answer_is_widened_and_not_kept_as_exact() -> None:
    one = worker(wire_dtype="float16")
    one._held, one._etag = W, '"e"'
    answer, [push] = talk(one._contribute(G), stepped({"w": np.float16([1, 2])}, step=42))
    assert b'"F16"' in bytes(push.body[0])
    assert answer["w"].dtype == np.float32
    assert one._held == {}


def test_an_asynchronous_contribution_is_numbered_after_all_of_older_epochs() -> None:
    one = worker("async")
    first = one.round
    _, [push] = talk(one._contribute(G), after(44))
    assert push.path.endswith(f"/contributions/gpu-3/{first}")
    assert sent(push) == {"epoch": "3", "weight": "1.0", "base_step": "41"}
    assert (one.contribution, one.step) == (Contribution("gpu-3", 44, "applied", epoch=3, seq=first), 44)
    assert one.round == first + 1
    one._epoch = 4
    assert one.round > first + 2**26 - 1


def test_an_asynchronous_answer_may_lack_what_others_have_stepped_over() -> None:
    one = worker("async")
    told_alone = Response(200, {"content-type": "application/json"}, b'{"fate": "applied", "step": 42}')
    params, requests = talk(one._contribute(G), told_alone, told(45), held(), told(46))
    assert asked(requests)[1:] == [RENEWAL, DOWNLOAD, RENEWAL]
    assert (params["w"].tolist(), one.step) == ([1, 2], 45)


def test_an_asynchronous_answer_hides_no_step_of_others() -> None:
    one = worker("async")
    talk(one._params(None), told(41), held(w=W["w"], b=W["w"]), told(41))
    talk(one._contribute(G), after(44))  # of w alone: b may have changed in 42 and 43
    newest, requests = talk(one._params(None), told(44), held(w=W["w"], b=G["w"]), told(44))
    assert "if-none-match" not in requests[1].headers
    assert newest["b"].tolist() == [3, 4]
    talk(one._contribute(G), after(45))  # the next one
    assert one._held.keys() == {"w", "b"}


def test_an_asynchronous_answer_of_rows_is_completed() -> None:
    one, table = worker("async"), np.zeros((3, 2))
    talk(one._params(None), told(41), held(e=table), told(41))
    metadata = {"step": "42", "skipped": "false", "digest": "d", "metrics": json.dumps(METRICS)}
    body = encode({"params": {"e": W["w"][None]}}, metadata, {"rows": {"e": np.int64([1])}})
    some = Response(200, {"content-type": "application/vnd.safetensors", "etag": '"e42"'}, body)
    answers = some, told(42), held(e=table + 1), told(42)
    params, requests = talk(one._contribute({"e": Rows([1], G["w"][None])}), *answers)
    assert "if-none-match" not in requests[2].headers
    assert params["e"].tolist() == (table + 1).tolist()
    assert (one.step, one._state.info.step) == (42, 42)


def test_an_older_asynchronous_contribution_says_the_step_that_it_became() -> None:
    one, again = worker("async"), error_of("step_conflict", current_step=44, applied_as_step=43)
    talk(one._contribute(G, step=7, base_step=40), again, told(44), held(), told(44))
    assert one.contribution == Contribution("gpu-3", 43, "applied", epoch=3, seq=7)
    with pytest.raises(StepConflict):
        talk(one._contribute(G), error_of("step_conflict", current_step=44))


def test_a_worker_in_a_forked_process_sends_nothing() -> None:
    one = worker()
    one._process = os.getppid()
    with pytest.raises(RuntimeError, match="worker 'gpu-3' has not joined in this process"):
        next(one._contribute(G))


@pytest.mark.parametrize("name", ["", "..", "host/0", 3])
def test_a_name_that_no_path_can_have_is_refused(name: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="a worker's name"):
        WorkerState(worker()._state, name, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": "heavy"}, "weight must be a number"),
        ({"step": 1.5}, "step must be a whole"),
        ({"wieght": 2}, r"contribute\(\) got an unexpected keyword argument 'wieght'"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_sent(options: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        next(worker()._contribute(G, **options))
