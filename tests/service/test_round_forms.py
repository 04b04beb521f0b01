"""Contributions in every form that a step may come in: a round of one worker is the plain step, to the bit."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client

from tests.bodies import encode
from tests.service.calls import SAFETENSORS, bits, create, read_binary, serving

TABLE = np.arange(60, dtype=np.float32).reshape(20, 3) / 7
ROWS = np.array([2, 3, 17])
LAZY = [{"match": ["*"], "sparse": "lazy"}]


def drawn(step: int, *shape: int) -> Any:
    return np.random.default_rng(step).standard_normal(shape).astype(np.float32)


def int8(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {"grads": {"w": rng.integers(-127, 127, (20, 3), np.int8)}, "scale": {"w": np.float32([0.01])}}


FORMS: Mapping[str, tuple[Any, dict[str, Any], Any, dict[str, str]]] = {
    "float32": (np.float32, {}, lambda t: {"grads": {"w": drawn(t, 20, 3)}}, {}),
    "float64": (np.float64, {}, lambda t: {"grads": {"w": drawn(t, 20, 3).astype(np.float64)}}, {}),
    "scaled": (np.float16, {}, lambda t: {"grads": {"w": drawn(t, 20, 3).astype(np.float16)}}, {"grad_scale": "3.0"}),
    "bfloat16": (ml_dtypes.bfloat16, {}, lambda t: {"grads": {"w": drawn(t, 20, 3).astype(ml_dtypes.bfloat16)}}, {}),
    "wire": (
        np.float32,
        {"wire_dtype": "bfloat16"},
        lambda t: {"grads": {"w": drawn(t, 20, 3).astype(ml_dtypes.bfloat16)}},
        {},
    ),
    "rows": (np.float32, {}, lambda t: {"rows": {"w": ROWS + t % 3}, "grads": {"w": drawn(t, 3, 3)}}, {}),
    "lazy rows": (
        np.float32,
        {"groups": LAZY},
        lambda t: {"rows": {"w": ROWS + t % 3}, "grads": {"w": drawn(t, 3, 3)}},
        {},
    ),
    "top-k": (np.float32, {}, lambda t: {"at": {"w": ROWS * 3 + t}, "grads": {"w": drawn(t, 3)}}, {}),
    "int8": (np.float32, {}, int8, {}),
}


def state(client: Client, session: str) -> dict[str, bytes]:
    """Return the moments and parameters of a session."""
    found = {}
    for kind in ("params", "m", "v"):
        arrays, _ = read_binary(client.get(f"{session}/state"), kind)
        found |= {f"{kind}/{name}": array.tobytes() for name, array in arrays.items()}
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_round_of_one_is_the_plain_step(form: str) -> None:
    dtype, settings, body_of, beside = FORMS[form]
    table, binary = encode({"params": {"w": TABLE.astype(dtype)}}, {}), {"content-type": SAFETENSORS}
    with serving() as client:
        shared = create(client, hold_params=True, workers={}, **settings)
        plain = create(client, hold_params=True, **settings)
        for session in (shared, plain):
            assert client.put(f"{session}/params", content=table, headers=binary).status_code == 204
        client.put(f"{shared}/workers/a", json={})
        for t in range(1, 4):
            stepped = client.post(f"{plain}/steps", content=encode({}, beside, body_of(t)), headers=binary)
            assert stepped.status_code == 200, stepped.text
            path = f"{shared}/rounds/{t}/contributions/a"
            pushed = client.put(path, content=encode({}, {"epoch": "1", **beside}, body_of(t)), headers=binary)
            assert pushed.status_code == 200, pushed.text
            (params, told), (answered, expected) = read_binary(pushed), read_binary(stepped)
            if "rows" not in body_of(t):  # of which a step answers those rows alone
                assert bits(params) == bits(answered)
            assert told["metrics"] == expected["metrics"]
            assert state(client, shared) == state(client, plain)
