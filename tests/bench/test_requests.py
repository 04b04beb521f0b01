"""The requests of the bench: their bytes, and a new key for each step."""

import numpy as np
import orjson
import pytest
from safetensors.numpy import load

from app.bench.requests import Request, binary, text, vector


def test_each_step_has_a_key_of_its_own() -> None:
    request = Request("here", "POST", "/v1/sessions/1/steps", b"body", "text/plain")
    first, second = request.next(), request.next()
    assert first != second
    assert first.startswith(b"POST /v1/sessions/1/steps HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n")
    assert first.endswith(b'"\r\n\r\nbody')


def test_a_preview_has_no_key() -> None:
    assert b"Idempotency-Key" not in Request("here", "POST", "/v1/sessions/1/preview").next()


def test_the_api_key_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIM_API_KEY", "secret")
    assert b"\r\nAuthorization: Bearer secret\r\n" in Request("here", "GET", "/v1/sessions").next()


def test_both_bodies_have_the_same_gradients() -> None:
    grads = vector(5)
    assert load(binary(grads))["grads/w"].tolist() == grads.tolist()
    assert np.array_equal(np.array(orjson.loads(text(grads))["grads"]["w"], np.float32), grads)
