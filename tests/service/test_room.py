"""The limits of one session: tensors, bytes, names and counts."""

from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from app.room import header_bytes
from app.session import DTYPES
from optim_engine import Entry, Layout, Spec
from tests.service.calls import SAFETENSORS, binary_step, create, path_of, problem, serving, step, stepped
from tests.service.narrow import LIMITS, own_state_is_taken
from tests.service.state_files import download, made_of, rewritten, session_of, upload


def many(count: int, start: int = 0) -> dict[str, Any]:
    return {f"t{i}": [1.0] for i in range(start, start + count)}


class TestTooManyTensors:
    """Tensors of one session, however many requests bring them."""

    WORDS = "with tensor 't4' the session would have 5 tensors, and may have 4"

    def refused(self, answer: Any) -> None:
        problem_document = problem(answer, 422, "tensor_mismatch")
        assert self.WORDS in problem_document["detail"]
        assert "OPTIM_MAX_TENSORS" in problem_document["detail"]
        assert problem_document["tensor"] == "t4"

    @pytest.mark.parametrize("hold", [False, True])
    def test_by_a_step_are_refused_and_change_nothing(self, narrow: Client, hold: bool) -> None:
        session = create(narrow, "sgd", hold_params=hold)
        stepped(narrow, session, params=many(3), grads=many(3))
        stepped(narrow, session, params=many(1, 3), grads=many(1, 3))
        before, history = narrow.get(session).content, narrow.get(f"{session}/history").content
        self.refused(step(narrow, session, params=many(1, 4), grads=many(1, 4)))
        assert narrow.get(session).content == before
        assert narrow.get(f"{session}/history").content == history
        stepped(narrow, session, params={} if hold else many(4), grads=many(4))
        own_state_is_taken(narrow, session)

    @pytest.mark.parametrize("on_non_finite", ["reject", "skip"])
    def test_are_refused_before_the_step_is_computed(self, narrow: Client, on_non_finite: str) -> None:
        session = create(narrow, "sgd", on_non_finite=on_non_finite)
        stepped(narrow, session, params=many(4), grads=many(4))
        one, nan = {"t4": np.ones(1, np.float32)}, {"t4": np.full(1, np.nan, np.float32)}
        self.refused(binary_step(narrow, session, nan, one))
        assert narrow.get(session).json()["skipped_steps"] == 0

    def test_by_a_skipped_step_leave_none_behind(self, narrow: Client) -> None:
        session = create(narrow, "sgd", hold_params=True, on_non_finite="skip")
        for start in range(6):
            bad = {f"t{start}": np.array([np.inf], np.float32)}
            binary_step(narrow, session, bad, {f"t{start}": np.ones(1, np.float32)})
        own_state_is_taken(narrow, session)

    def test_by_put_are_refused(self, narrow: Client) -> None:
        session = create(narrow, hold_params=True)
        for start in range(0, 4, 2):
            assert narrow.put(f"{session}/params", json={"params": many(2, start)}).status_code == 204
        self.refused(narrow.put(f"{session}/params", json={"params": many(1, 4)}))
        assert narrow.put(f"{session}/params", json={"params": many(4)}).status_code == 204
        own_state_is_taken(narrow, session)

    def test_make_room_for_others_where_some_are_removed(self, narrow: Client) -> None:
        session = create(narrow, "sgd")
        stepped(narrow, session, params=many(4), grads=many(4))
        assert narrow.patch(f"{session}/tensors", json={"remove": ["t0"]}).status_code == 200
        stepped(narrow, session, params=many(1, 4), grads=many(1, 4))
        own_state_is_taken(narrow, session)

    def test_that_were_there_before_the_limit_go_on(self, tmp_path: Any) -> None:
        url = f"lmdb:{tmp_path}"
        with serving(store=url) as client:
            session = create(client)
            stepped(client, session, params=many(5), grads=many(5))
        with serving(store=url, max_tensors=4) as client:
            stepped(client, session, params=many(2), grads=many(2))
            assert client.patch(f"{session}/tensors", json={"rename": {"t0": "x"}}).status_code == 200
            problem(step(client, session, params=many(1, 5), grads=many(1, 5)), 422, "tensor_mismatch")


class TestTooLargeStates:
    def test_are_refused_before_they_cannot_be_uploaded_again(self, narrow: Client) -> None:
        session = create(narrow)
        for name in "ab":
            stepped(narrow, session, params={name: [1.0] * 50}, grads={name: [1.0] * 50})
        before = narrow.get(session).content
        refused = problem(
            step(narrow, session, params={"c": [1.0] * 50}, grads={"c": [1.0] * 50}), 422, "tensor_mismatch"
        )
        assert "would have 1200 bytes" in refused["detail"] or "bytes, and could not be uploaded" in refused["detail"]
        assert refused["tensor"] == "c"
        assert narrow.get(session).content == before
        assert len(download(narrow, session)) > LIMITS["max_body_bytes"]
        own_state_is_taken(narrow, session)

    @pytest.mark.parametrize("length", [1025, 5000])
    @pytest.mark.parametrize("create", [False, True])
    def test_that_are_no_state_files_are_too_long(self, narrow: Client, length: int, create: bool) -> None:
        session = path_of(narrow.post("/v1/sessions", json={"optimizer": "sgd"}))
        answer = made_of(narrow, b" " * length) if create else upload(narrow, session, b" " * length)
        assert problem(answer, 413, "body_too_large")["limit"] == 1024


def test_names_that_no_header_could_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.room.HEADER_BYTES", (8 << 20) + 2000)
    with serving() as client:
        session = create(client)
        stepped(client, session, params={"a": [1.0]}, grads={"a": [1.0]})
        long = {"b" * 250: [1.0]}
        assert (
            "shorter names" in problem(step(client, session, params=long, grads=long), 422, "tensor_mismatch")["detail"]
        )
        rename = {"rename": {"a": "\x01" * 250}}
        problem(client.patch(f"{session}/tensors", json=rename), 422, "tensor_mismatch")


def test_a_header_is_no_longer_than_it_is_taken_for() -> None:
    texts = ["\x01" * 256, '"' * 256, "\\" * 256, "😀" * 256, "a"]
    names = {name: np.ones((1,) * 32, np.float64) for name in texts}
    with serving() as client:
        session = create(client, hyperparameters={"amsgrad": True}, hold_params=True)
        binary_step(client, session, names, names).raise_for_status()
        size = int.from_bytes(download(client, session)[:8], "little")
    entry = Entry(Spec((1,) * 32, DTYPES["float64"]), ("m", "v", "v_max", "params"))
    estimate = header_bytes(Layout(dict.fromkeys(names, entry)))
    assert size - 2000 < estimate < 2 * size


def test_counts_beyond_all_counting_are_refused(narrow: Client) -> None:
    session = create(narrow, on_non_finite="skip")
    stepped(narrow, session, params={"a": [1.0]}, grads={"a": [1.0]})

    def far(document: dict[str, Any]) -> None:
        document.update(step=2**53, skipped_steps=2**53, digest=None)

    file = rewritten(download(narrow, session), far)
    headers = {"content-type": SAFETENSORS}
    assert narrow.put(f"{session}/state?digest=none", content=file, headers=headers).status_code == 204
    answer = step(narrow, session, params={"a": [1.0]}, grads={"a": [1.0]})
    assert "are not counted" in problem(answer, 409, "step_conflict")["detail"]
    bad = {"a": np.array([np.nan], np.float32)}
    problem(binary_step(narrow, session, bad, {"a": np.ones(1, np.float32)}), 409, "step_conflict")
    own_state_is_taken(narrow, session)
    assert session_of(download(narrow, session))["step"] == 2**53
