"""The requests of the verbs, and the answers that they read."""

import io
import json
import re
from typing import Any, SupportsFloat, get_type_hints

import numpy as np
import pytest
from optim_client import _calls
from optim_client._protocol import Response
from optim_client._tensors import decode
from optim_client.settings import StepOptions

from tests.bodies import encode, in_one
from tests.client.documents import W

SAFETENSORS = "application/vnd.safetensors"


def test_an_update_sends_null_where_none_is_given() -> None:
    request = _calls.update("s", {"schedule": None, "lr": 0.1}).request
    assert isinstance(request.body, bytes)
    assert json.loads(request.body) == {"schedule": None, "hyperparameters": {"lr": 0.1}}


def test_whatever_changes_something_carries_a_key_of_its_own() -> None:
    writes = [
        _calls.create("sgd", {}), _calls.update("s", {}), _calls.delete("s"), _calls.put_params("s", W),
        _calls.put_state("s", io.BytesIO()), _calls.step("s", 1, None, W, None, None), _calls.fork("s", {}),
        _calls.undo("s", 1),
    ]  # fmt: skip
    keys = [call.request.headers["idempotency-key"] for call in writes]
    assert all(re.fullmatch('"[0-9a-f]{32}"', key) for key in keys)
    assert len(set(keys)) == len(writes)
    reads = [_calls.get("s"), _calls.params("s"), _calls.list_sessions(None, None), _calls.history("s")]
    reads.append(_calls.preview("s", 1, None, W))
    assert not any("idempotency-key" in call.request.headers for call in [*reads, _calls.ready(), _calls.optimizers()])


def test_an_id_cannot_lead_to_another_path() -> None:
    assert _calls.get("../steps?a=1").request.path == "/v1/sessions/..%2Fsteps%3Fa%3D1"


@pytest.mark.parametrize("bad", [None, 7, b"s-1"])
def test_an_id_that_is_no_string_is_not_sent(bad: Any) -> None:
    with pytest.raises(TypeError, match="a session's id must be a string"):
        _calls.delete(bad)


@pytest.mark.parametrize("bad", ["", ".", ".."])
def test_an_id_that_leads_elsewhere_is_not_sent(bad: str) -> None:
    with pytest.raises(ValueError, match="a session's id cannot be"):
        _calls.get(bad)


def test_a_step_carries_number_scalars_and_a_new_key() -> None:
    first, second = (in_one(_calls.step("s", 7, W, W, np.float32(0.5), 1e-3).request) for _ in range(2))
    assert isinstance(first.body, bytes)
    assert decode(first.body, "grads")[1] == {"step": "7", "loss": "0.5", "lr": "0.001"}
    assert first.headers["content-type"] == SAFETENSORS
    assert first.headers["accept"].startswith(SAFETENSORS)
    keys = [request.headers["idempotency-key"] for request in (first, second)]
    assert all(re.fullmatch('"[0-9a-f]{32}"', key) for key in keys)
    assert keys[0] != keys[1]


def test_a_loss_may_be_another_librarys_number() -> None:
    class Scalar:
        def __float__(self) -> float:
            return 0.25

    request = in_one(_calls.step("s", 7, W, W, Scalar(), np.float64(0.5)).request)
    assert isinstance(request.body, bytes)
    assert decode(request.body, "grads")[1] == {"step": "7", "loss": "0.25", "lr": "0.5"}
    hints = get_type_hints(StepOptions)
    assert hints["loss"] == hints["lr"] == SupportsFloat | None


def test_equal_steps_have_equal_bytes() -> None:
    params = {"w": np.float32(1), "b": np.float64(2)}
    again = dict(reversed(params.items()))
    first, second = (_calls.step("s", 7, tensors, W, 0.5, 0.1).request for tensors in (params, again))
    assert first.body == second.body


def test_a_step_without_params_sends_grads_alone() -> None:
    request = in_one(_calls.step("s", 7, None, W, None, None).request)
    assert isinstance(request.body, bytes)
    assert (decode(request.body, "params")[0], list(decode(request.body, "grads")[0])) == ({}, ["w"])


def test_metadata_is_needed_in_an_answer() -> None:
    with pytest.raises(KeyError):
        _calls.step("s", 1, W, W, None, None).read(Response(200, {}, encode({"params": W}, {})))
