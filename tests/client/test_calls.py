"""What is sent for each verb, and what becomes of the session's known step."""

import io
import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from optim_client import HistoryRow, Metrics, SessionInfo, TensorInfo, _calls
from optim_client._protocol import Response
from optim_client._state import SessionState
from optim_client._tensors import decode

from tests.bodies import encode, in_one
from tests.client.documents import METRICS, ROW, SESSION, stepped

SAFETENSORS = "application/vnd.safetensors"
W = {"w": np.float32([1, 2])}


def sent(settings: Any) -> Any:
    request = _calls.create("adamw", settings).request
    assert request.headers["content-type"] == "application/json"
    assert isinstance(request.body, bytes)
    return json.loads(request.body)


def test_hyperparameters_are_gathered_and_the_requests_own_fields_are_not() -> None:
    fields = {
        "groups": [], "schedule": {"kind": "constant"}, "clip": {"global_norm": 1.0}, "on_non_finite": "skip",
        "hold_params": True, "wire_dtype": "float16", "ttl_seconds": 60, "labels": {"run": "1"},
        "on_other_params": "reject",
    }  # fmt: skip
    assert sent({**fields, "lr": 0.1, "betas": (0.9, 0.99)}) == {
        "optimizer": "adamw",
        "hyperparameters": {"lr": 0.1, "betas": [0.9, 0.99]},
        **fields,
    }


def test_missing_settings_are_not_sent() -> None:
    assert sent({}) == {"optimizer": "adamw"}


def test_an_unknown_setting_is_sent_as_a_hyperparameter() -> None:
    assert sent({"nesterov_strength": 2})["hyperparameters"] == {"nesterov_strength": 2}


def test_numpy_numbers_are_numbers() -> None:
    assert sent({"lr": np.float32(0.5), "eps": np.float64(1e-8), "amsgrad": np.True_})["hyperparameters"] == {
        "lr": 0.5,
        "eps": 1e-8,
        "amsgrad": True,
    }


def test_settings_that_json_lacks_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown type of setting"):
        sent({"lr": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        sent({"lr": float("nan")})


def test_an_update_sends_null_where_none_is_given() -> None:
    request = _calls.update("s", {"schedule": None, "lr": 0.1}).request
    assert isinstance(request.body, bytes)
    assert json.loads(request.body) == {"schedule": None, "hyperparameters": {"lr": 0.1}}


def test_whatever_changes_something_carries_a_key_of_its_own() -> None:
    writes = [
        _calls.create("sgd", {}), _calls.update("s", {}), _calls.delete("s"), _calls.put_params("s", W),
        _calls.put_state("s", io.BytesIO()), _calls.step("s", 1, None, W, None, None),
    ]  # fmt: skip
    keys = [call.request.headers["idempotency-key"] for call in writes]
    assert all(re.fullmatch('"[0-9a-f]{32}"', key) for key in keys)
    assert len(set(keys)) == len(writes)
    reads = [_calls.get("s"), _calls.params("s"), _calls.list_sessions(None, None), _calls.history("s", None, None)]
    assert not any("idempotency-key" in call.request.headers for call in [*reads, _calls.ready()])


def test_an_id_cannot_lead_to_another_path() -> None:
    assert _calls.get("../steps?a=1").request.path == "/v1/sessions/..%2Fsteps%3Fa%3D1"


def test_a_step_carries_number_scalars_and_a_new_key() -> None:
    first, second = (in_one(_calls.step("s", 7, W, W, np.float32(0.5), 1e-3).request) for _ in range(2))
    assert isinstance(first.body, bytes)
    assert decode(first.body, "grads")[1] == {"step": "7", "loss": "0.5", "lr": "0.001"}
    assert first.headers["content-type"] == SAFETENSORS
    assert first.headers["accept"].startswith(SAFETENSORS)
    keys = [request.headers["idempotency-key"] for request in (first, second)]
    assert all(re.fullmatch('"[0-9a-f]{32}"', key) for key in keys)
    assert keys[0] != keys[1]


def test_equal_steps_have_equal_bytes() -> None:
    params = {"w": np.float32(1), "b": np.float64(2)}
    again = dict(reversed(params.items()))
    first, second = (_calls.step("s", 7, tensors, W, 0.5, 0.1).request for tensors in (params, again))
    assert first.body == second.body


def test_a_step_without_params_sends_grads_alone() -> None:
    request = in_one(_calls.step("s", 7, None, W, None, None).request)
    assert isinstance(request.body, bytes)
    assert (decode(request.body, "params")[0], list(decode(request.body, "grads")[0])) == ({}, ["w"])


def test_a_session_is_read_whole() -> None:
    info = SessionInfo.read({**SESSION, "member_of_tomorrow": 1})
    assert info.tensors == {"w": TensorInfo((1, 2), "float32", 41, None)}
    assert info.created_at == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert replace(info, expires_at=None) == SessionInfo.read({**SESSION, "expires_at": None})


def test_history_rows_are_read_with_their_times() -> None:
    [row] = _calls.history("s", None, None).read(Response(200, {}, json.dumps({"history": [ROW]}).encode()))
    assert (row.step, row.loss, row.time) == (1, None, datetime(2026, 11, 20, 12, 0, 1, 500000, tzinfo=UTC))


def test_numbers_that_json_lacks_are_read_from_their_names() -> None:
    row = HistoryRow.read({**ROW, "grad_norm": "NaN", "param_norm": "Infinity", "loss": "-Infinity"})
    assert math.isnan(row.grad_norm)
    assert (row.param_norm, row.loss) == (math.inf, -math.inf)


def test_a_step_moves_what_the_client_knows() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    params = state._step(W, W, None, None).read(stepped(W, step=42, digest="new"))
    assert np.array_equal(params["w"], W["w"])
    assert (state.info.step, state.digest, state.skipped) == (42, "new", False)
    assert state.metrics == Metrics(**METRICS)
    assert repr(state) == "<SessionState s-1 adamw at step 42>"


def test_the_answer_has_the_order_of_the_gradients() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    tensors = {"b": 1.0, "c": 2.0, "a": 3.0}
    assert list(state._step(tensors, tensors, None, None).read(stepped(tensors, step=42))) == ["b", "c", "a"]


def test_an_answer_that_lacks_a_tensor_changes_nothing() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    with pytest.raises(KeyError):
        state._step({**W, "b": 1.0}, {**W, "b": 1.0}, None, None).read(stepped(W, step=42))
    assert (state.info.step, state.metrics) == (41, None)


def test_a_skipped_step_leaves_the_known_step() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    state._step(W, W, None, None).read(stepped(W, step=41, skipped=True))
    assert (state.info.step, state.skipped) == (41, True)
    body = in_one(state._step(W, W, None, None).request).body
    assert isinstance(body, bytes)
    assert decode(body, "params")[1]["step"] == "42"


def test_a_step_needs_grads() -> None:
    with pytest.raises(TypeError, match=r"step\(\) needs grads"):
        SessionState(SessionInfo.read(SESSION))._step(W, None, None, None)


def test_metadata_is_needed_in_an_answer() -> None:
    with pytest.raises(KeyError):
        _calls.step("s", 1, W, W, None, None).read(Response(200, {}, encode({"params": W}, {})))
