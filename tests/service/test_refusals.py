"""Steps that are not taken: gradients that are not finite, tensors that do not fit, requests that cannot be meant."""

from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import W, binary_step, bits, create, problem, read_binary, step, stepped
from tests.service.test_steps import computed, draw


class TestNonFiniteGradients:
    BAD = np.float32([[1, 2], [3, np.inf]])

    def test_are_rejected_with_tensor_and_index_and_change_nothing(self, client: Client) -> None:
        session = create(client, schedule={"kind": "linear_warmup", "warmup_steps": 4})
        w = {"w": draw(1, shape=(2, 2))}
        binary_step(client, session, w, w)
        before = client.get(session)
        refused = problem(binary_step(client, session, {"w": self.BAD}, w, step=2), 422, "non_finite")
        assert (refused["tensor"], refused["index"]) == ("w", [1, 1])
        assert client.get(session).content == before.content
        assert len(client.get(f"{session}/history").json()["history"]) == 1

    def test_are_skipped_where_the_session_says_so(self, client: Client) -> None:
        session = create(client, schedule={"kind": "linear_warmup", "warmup_steps": 4}, on_non_finite="skip")
        w = {"w": draw(1, shape=(2, 2))}
        first = read_binary(binary_step(client, session, w, w, step=1))[0]
        before = client.get(session).json()
        after, metadata = read_binary(binary_step(client, session, {"w": self.BAD}, first, step=2))
        assert (metadata["step"], metadata["skipped"]) == ("1", "true")
        assert bits(after) == bits(first)
        now = client.get(session).json()
        assert (now["step"], now["skipped_steps"]) == (1, 1)
        assert (now["tensors"], now["digest"]) == (before["tensors"], before["digest"])
        again, metadata = read_binary(binary_step(client, session, w, first, step=2))
        schedule = {"kind": "linear_warmup", "warmup_steps": 4}
        assert metadata["step"] == "2"
        assert bits(again) == bits(computed(w, w, w, schedule=schedule).params)

    def test_that_are_skipped_have_metrics_as_strings(self, client: Client) -> None:
        session = create(client, on_non_finite="skip")
        bad = {"w": {"dtype": "float32", "shape": [1], "base64": b64encode(np.float32([np.nan]).tobytes()).decode()}}
        document = stepped(client, session, params={"w": [1]}, grads=bad)
        assert (document["skipped"], document["step"], document["params"]) == (True, 0, {"w": [1.0]})
        assert document["metrics"] == {
            "lr": 0.001, "grad_norm": "NaN", "update_norm": 0.0, "param_norm": 1.0, "clip_scale": 1.0,
        }  # fmt: skip


MISMATCHES: list[tuple[dict[str, Any], str | None]] = [
    ({"params": {"w": [1, 2, 3]}, "grads": {"w": [1, 2, 3]}}, "w"),
    ({"params": {"w": [[1, 2]]}, "grads": {"w": [[1, 2]]}}, "w"),
    ({"params": {"w": [1, 2]}, "grads": {"w": [1, 2, 3]}}, "w"),
    ({"params": {"w": [1, 2]}, "grads": {"w": {"dtype": "float64", "shape": [2], "data": [1, 2]}}}, "w"),
    ({"params": {"w": [1]}, "grads": {"w": [1, 2]}}, "w"),
    ({"params": {}, "grads": {"w": [1, 2]}}, "w"),
    ({"params": {"w": [1, 2], "v": [1]}, "grads": {"w": [1, 2]}}, "v"),
    ({"params": {"w": [1, 2]}, "grads": {}}, None),
    ({}, None),
]


@pytest.mark.parametrize(("body", "tensor"), MISMATCHES)
def test_a_tensor_that_does_not_fit_is_refused_by_name(
    client: Client, body: dict[str, Any], tensor: str | None
) -> None:
    session = create(client)
    stepped(client, session, **W)
    before = client.get(session).content
    refused = problem(step(client, session, **body), 422, "tensor_mismatch")
    assert refused.get("tensor", "none") == (tensor or "none")
    assert client.get(session).content == before


def test_an_error_has_no_empty_members(client: Client) -> None:
    refused = problem(step(client, create(client), grads={"w": [1]}), 422, "tensor_mismatch")
    assert None not in refused.values()


def test_a_mismatch_says_the_expected_and_the_received_tensor(client: Client) -> None:
    session = create(client)
    stepped(client, session, **W)
    half = {"w": {"dtype": "float16", "shape": [1, 2], "data": [1, 2]}}
    refused = problem(step(client, session, params=half, grads=half), 422, "tensor_mismatch")
    assert (refused["expected"], refused["got"]) == ("float32 [2]", "float16 [1, 2]")


MALFORMED: list[dict[str, Any]] = [
    W | {"step": 0},
    W | {"step": -1},
    W | {"step": 1.0},
    W | {"step": "1"},
    W | {"step": True},
    W | {"step": 2**60},
    W | {"lr": -0.1},
    W | {"lr": "0.1"},
    W | {"lr": "NaN"},
    W | {"lr": "Infinity"},
    W | {"lr": True},
    W | {"loss": "none"},
    W | {"loss": [0.5]},
    W | {"loss": False},
    W | {"gradients": {}},
    {"params": {"w": [1]}, "grads": [1]},
    {"params": None, "grads": {"w": [1]}},
]


@pytest.mark.parametrize("body", MALFORMED)
def test_a_step_that_cannot_be_meant_is_refused(client: Client, body: dict[str, Any]) -> None:
    session = create(client)
    problem(step(client, session, **body), 400, "malformed_body")
    assert client.get(session).json()["step"] == 0


@pytest.mark.parametrize(
    "metadata",
    [
        *({"step": step} for step in ("one", "0", "1_0", "\u0661", " 1", "1.0", "9" * 5000)),
        *({"lr": lr} for lr in ("fast", "-1", "nan", "0_1", "\u0661", "0.1 ")),
        *({"loss": "x"}, {"stp": "1"}),
    ],
)
def test_a_binary_step_with_invalid_metadata_is_refused(client: Client, metadata: dict[str, str]) -> None:
    w = {"w": draw(1)}
    problem(binary_step(client, create(client), w, w, **metadata), 400, "malformed_body")


def test_a_binary_step_with_other_writers_metadata_is_taken(client: Client) -> None:
    w = {"w": draw(1)}
    assert binary_step(client, create(client), w, w, format="pt").status_code == 200


@pytest.mark.parametrize("header", ['"', '""', '"a"b"', "a" * 256, f'"{"a" * 256}"', "", " "])
def test_an_idempotency_key_that_is_none_is_refused(client: Client, header: str) -> None:
    answer = client.post(f"{create(client)}/steps", json=W, headers={"idempotency-key": header})
    problem(answer, 400, "malformed_header")


@pytest.mark.parametrize("header", [b'"a"', b"a", b"a" * 255, b'"%s"' % (b"a" * 255), '"a b/ü"'.encode("latin-1")])
def test_an_idempotency_key_may_be_quoted_or_bare(client: Client, header: bytes) -> None:
    session = create(client)
    for replayed in (None, "true"):
        answer = client.post(f"{session}/steps", json=W, headers={b"idempotency-key": header})
        assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (200, replayed)


DEEP = 100_000


@pytest.mark.parametrize("deep", [b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/sessions"), ("PATCH", "{}"), ("POST", "{}/steps"), ("PUT", "{}/params"), ("PUT", "{}/state")],
)
def test_json_that_nests_too_deep_is_refused(client: Client, method: str, path: str, deep: bytes) -> None:
    session = create(client, hold_params=True)
    content, media_type = deep, "application/json"
    if path.endswith("state"):
        content, media_type = len(deep).to_bytes(8, "little") + deep, "application/vnd.safetensors"
    answer = client.request(method, path.format(session), content=content, headers={"content-type": media_type})
    problem(answer, 400, "malformed_body")
    assert len(answer.content) < 1000
