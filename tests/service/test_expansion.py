"""Top-k and int8: the dense gradients that they stand for, by a twin on plain numbers, in whole steps too."""

import struct
from collections.abc import Mapping
from typing import Any

import httpx2
import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.errors import MalformedBody
from app.errors import TensorMismatch as ServiceMismatch
from app.expansion import expanded, expanded_nbytes, outline
from app.main import create_app
from app.settings import Settings
from app.step import StepRequest
from app.wire.codec import Limits
from app.wire.codecs import SAFETENSORS as SAFETENSORS_CODEC
from optim_engine import Layout, TensorMismatch
from optim_engine.arrays import Array
from tests.service.calls import SAFETENSORS, create, problem, read_binary, running, serving
from tests.wire import package
from tests.wire.steps import ONCE

NOTHING = Layout({})
LIMITS = Limits(max_tensors=9, max_name_length=9)
W = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
DENSE = np.zeros(12, np.float32)
DENSE[[1, 4, 11]] = -0.5, 2.0, 0.25
AT = np.int64([1, 4, 11])
TOP = {"at/w": AT, "grads/w": DENSE[AT]}
INT8 = {"grads/w": np.int8([[-2, 1, 0, 0], [1, 2, 3, 4], [5, 6, 7, 127]]), "scale/w": np.float32([0.1])}
TOP8 = {"at/w": AT, "grads/w": np.int8([-2, 8, 1]), "scale/w": np.float32([0.25])}
FORMS: dict[str, tuple[dict[str, Array], Array]] = {
    "top-k": (TOP, DENSE),
    "int8": (INT8, INT8["grads/w"] * np.float32(0.1)),
    "top-k of int8": (TOP8, DENSE),
}
"""Each form of a gradient of w, and the dense one."""


def dense(name: str) -> dict[str, Array]:
    return {"grads/w": FORMS[name][1].reshape(3, 4)}


def post(
    client: Client, path: str, tensors: Mapping[str, Array], key: str | None = None, **headers: str
) -> httpx2.Response:
    keys = {} if key is None else {"idempotency-key": f'"{key}"'}
    body = package.save({name: np.ascontiguousarray(x) for name, x in tensors.items()}, {"grad_scale": "2"})
    return client.post(path, content=body, headers={"content-type": SAFETENSORS, **keys, **headers})


def sessions(client: Client, count: int, *, hold: bool, **settings: Any) -> list[str]:
    """Return new sessions that have taken the same step."""
    made = [create(client, "adamw", hold_params=hold, clip={"global_norm": 0.5}, **settings) for _ in range(count)]
    assert all(post(client, f"{path}/steps", {"params/w": W, "grads/w": W}).status_code == 200 for path in made)
    return made


def as_float32(value: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]  # type: ignore[no-any-return]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def twin(q: list[int], scales: list[float], at: list[int] | None, size: int) -> list[float]:
    """Return the dense gradient: a product of an int8 and a float32 is exact as a float of Python."""
    values = [as_float32(q[i] * (scales[0] if len(scales) == 1 else scales[i // 256])) for i in range(len(q))]
    if at is None:
        return values
    found = dict(zip(at, values, strict=True))
    return [found.get(i, 0.0) for i in range(size)]


@st.composite
def compressed(draw: st.DrawFn) -> tuple[Array, Array, Array | None, int]:
    """Draw int8 elements, their scales, and indices among so many elements, if any."""
    size = draw(st.sampled_from([0, 1, 255, 256, 257, 512, 700]))
    at = np.flatnonzero(draw(hnp.arrays(np.bool_, size))) if draw(st.booleans()) else None
    count = size if at is None else len(at)
    scales = draw(hnp.arrays(np.float32, draw(st.sampled_from([1, -(-count // 256)])), elements=st.floats(width=32)))
    return draw(hnp.arrays(np.int8, count)), scales, at, size


@given(compressed())
def test_int8_and_its_indices_are_those_of_a_twin(parts: tuple[Array, Array, Array | None, int]) -> None:
    q, scales, at, size = parts
    request = StepRequest(
        grads={"w": q},
        once=ONCE,
        params={"w": np.zeros(size, np.float32)},
        at={} if at is None else {"w": at},
        scale={"w": scales},
    )
    g = expanded(request, NOTHING).grads["w"]
    expected = twin(q.tolist(), scales.tolist(), None if at is None else at.tolist(), size)
    assert g.dtype == np.float32
    assert np.array_equal(g, np.array(expected), equal_nan=True)
    assert np.array_equal(np.signbit(g[g == 0]), np.signbit(np.array(expected)[g == 0]))
    (shape,) = outline(request, NOTHING).values()
    assert (shape.dtype, shape.shape) == (g.dtype, g.shape)
    assert expanded_nbytes(request, NOTHING) == g.nbytes + 4 * size


SMALL = st.lists(st.integers(-1, 13), max_size=4)


@given(SMALL, st.integers(0, 4), st.sampled_from([None, 0, 1, 2]), st.booleans())
def test_a_body_is_expanded_or_refused_as_a_twin_does(at: list[int], k: int, scales: int | None, has_at: bool) -> None:
    q = np.arange(k, dtype=np.float32 if scales is None else np.int8)
    parts = {"params/w": W, "grads/w": q} | ({"at/w": np.int64(at)} if has_at else {})
    if scales is not None:
        parts["scale/w"] = np.full(scales, 0.5, np.float32)
    is_sorted = at == sorted(set(at)) and all(0 <= i < W.size for i in at)
    fits = (not has_at or (is_sorted and len(at) == k)) and (scales in (None, 1) or (scales == 0 and k == 0))
    try:
        g = expanded(SAFETENSORS_CODEC.read_step(package.save(parts), LIMITS, ONCE), NOTHING).grads["w"]
    except (MalformedBody, ServiceMismatch, TensorMismatch):
        assert not fits
        return
    assert fits
    expected = twin(q.tolist(), [1.0 if scales is None else 0.5], at if has_at else None, W.size)
    assert g.reshape(-1).tolist() == expected


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_elements_keep_their_dtype_among_zeros(dtype: Any) -> None:
    request = StepRequest({"w": np.array([0.1, -3], dtype)}, ONCE, {"w": W.astype(dtype)}, at={"w": np.int64([0, 7])})
    g = expanded(request, NOTHING).grads["w"]
    assert (g.dtype, g.shape) == (dtype, W.shape)
    assert g.reshape(-1).tolist() == [float(dtype(0.1)), *[0] * 6, -3, *[0] * 4]


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_compressed_gradient_makes_the_dense_step(client: Client, form: str, hold: bool) -> None:
    ours, theirs = sessions(client, 2, hold=hold)
    beside = {} if hold else {"params/w": W}
    for path in ("preview", "steps"):
        answers = [
            post(client, f"{session}/{path}", beside | tensors, **{"idempotency-key": '"a"'} if path == "steps" else {})
            for session, tensors in ((ours, FORMS[form][0]), (theirs, dense(form)))
        ]
        assert read_binary(answers[0])[0]["w"].shape == W.shape
        assert answers[0].content == answers[1].content
    again = post(client, f"{ours}/steps", beside | FORMS[form][0], "a")
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == answers[0].content
    problem(post(client, f"{ours}/steps", beside | dense(form), "a"), 422, "idempotency_mismatch")


def test_a_large_compressed_step_writes_over_the_state_too(client: Client) -> None:
    ours, theirs = (create(client, hold_params=True) for _ in range(2))
    w = np.linspace(-1, 1, (1 << 20) + 3, dtype=np.float32)
    g, at = np.zeros_like(w), np.arange(5, len(w), 7)
    g[at] = w[at]
    for session in (ours, theirs):
        assert post(client, f"{session}/steps", {"params/w": w, "grads/w": w}).status_code == 200
    answers = [
        post(client, f"{session}/steps", tensors)
        for session, tensors in ((ours, {"at/w": at, "grads/w": w[at]}), (theirs, {"grads/w": g}))
    ]
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize("skips", [True, False])
def test_an_infinite_scale_is_found_in_the_gradient(client: Client, skips: bool) -> None:
    (session,) = sessions(client, 1, hold=True, on_non_finite="skip" if skips else "reject")
    scale = np.float32([1.0, np.inf])
    q = np.ones(300, np.int8)
    put = {"params/v": np.zeros(300, np.float32), "grads/v": q, "scale/v": scale}
    answer = post(client, f"{session}/steps", put)
    if skips:
        assert read_binary(answer)[1]["skipped"] == "true"
    else:
        refused = problem(answer, 422, "non_finite")
        assert (refused["tensor"], refused["index"]) == ("v", [256])
    assert client.get(session).json()["step"] == 1


REFUSED: dict[str, tuple[dict[str, Array], str]] = {
    "an index beyond the tensor": (
        {"at/w": np.int64([12]), "grads/w": np.float32([1])},
        "tensor 'w' has 12 elements, and its gradient one at index 12: `at` has indices into the flat tensor",
    ),
    "an unknown shape": (
        {"at/v": np.int64([1]), "grads/v": np.float32([1])},
        "tensor 'v' has a gradient of some elements, and its shape is unknown: send its parameter too",
    ),
    "int8 of another shape": (
        {"grads/w": np.int8([1]), "scale/w": np.float32([1])},
        "tensor 'w': the gradient is float32 [1], the session has it as float32 [3, 4]: send it so",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_does_not_fit_the_session_is_refused_whole(client: Client, wrong: str) -> None:
    (session,) = sessions(client, 1, hold=True)
    before = client.get(f"{session}/state").content
    tensors, message = REFUSED[wrong]
    for path in ("preview", "steps"):
        assert problem(post(client, f"{session}/{path}", tensors), 422, "tensor_mismatch")["detail"].startswith(message)
    assert client.get(f"{session}/state").content == before


def test_an_answered_step_is_known_though_its_tensor_is_gone(client: Client) -> None:
    (session,) = sessions(client, 1, hold=True)
    assert post(client, f"{session}/steps", TOP, "a").status_code == 200
    assert client.patch(f"{session}/tensors", json={"remove": ["w"]}).status_code == 200
    problem(post(client, f"{session}/steps", TOP, "a"), 409, "step_conflict")


def test_the_expanded_size_counts_against_the_limits() -> None:
    with serving(max_body_bytes=1024) as client:
        session = create(client, "sgd", hold_params=True)
        assert post(client, f"{session}/steps", {"params/w": W[0], "grads/w": W[0]}).status_code == 200
        many = {"grads/v": np.ones(300, np.int8), "scale/v": np.float32([1])}
        refused = problem(post(client, f"{session}/steps", many), 413, "body_too_large")
        assert refused["limit"] == 1024
        assert "expanded, the body has 1200 bytes" in refused["detail"]
    with serving(max_json_bytes=1024) as client:
        session = create(client, "sgd", hold_params=True)
        params = {"params/w": np.ones(100, np.float32), "grads/w": np.ones(100, np.float32)}
        assert post(client, f"{session}/steps", params).status_code == 200
        few = {"at/w": np.int64([1]), "grads/w": np.float32([1])}
        problem(post(client, f"{session}/steps", few, accept="application/json"), 406, "not_acceptable")
        assert post(client, f"{session}/steps", few).status_code == 200


def test_an_expanded_gradient_takes_the_memory_of_a_body() -> None:
    app = create_app(Settings(store="memory:", max_waiting_bytes=2 << 20))
    with running(app) as client:
        session = create(client, "sgd", hold_params=True)
        w = np.ones(1 << 18, np.float32)
        content = package.save({"params/w": w}, None)
        assert client.put(f"{session}/params", content=content, headers={"content-type": SAFETENSORS}).is_success
        few = {"at/w": np.int64([1]), "grads/w": np.float32([1])}
        app.state.service.bodies.grow(3 << 19)
        problem(post(client, f"{session}/steps", few), 503, "overloaded")
        app.state.service.bodies.grow(-3 << 19)
        assert post(client, f"{session}/steps", few).status_code == 200
