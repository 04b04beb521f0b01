"""Gradients of rows and elements, and in int8: what is sent, the steps that they make, and what comes back."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from optim_client import Int8, Rows, TopK
from optim_client._protocol import Response
from optim_client._state import SessionState
from optim_client.documents import SessionInfo

from tests.client.conftest import Connect
from tests.client.documents import SESSION
from tests.client.training import bits
from tests.wire import package

W = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
AT = [1, 4, 11]
DENSE = np.zeros_like(W)
DENSE.reshape(-1)[AT] = -0.5, 2.0, 0.25
Q = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
FORMS: dict[str, tuple[Any, Any]] = {
    "top-k": (TopK(AT, np.float32([-0.5, 2, 0.25])), DENSE),
    "int8": (Int8(Q, 0.1), Q * np.float32(0.1)),
    "top-k of int8": (TopK(np.uint8(AT), Int8(np.int8([-2, 8, 1]), [0.25])), DENSE),
}


def sent(grads: Any, **settings: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return the tensors of a step's body."""
    body = SessionState(SessionInfo.read(SESSION | settings))._step(None, grads).request.body
    assert isinstance(body, list)
    return package.load(b"".join(body))


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_compressed_gradient_is_the_step_of_its_dense_one(connect: Connect, form: str, hold: bool) -> None:
    client = connect("memory:")
    compressed, dense = FORMS[form]
    params = {"layer": {"w": W, "b": np.float32([1])}}
    ours, theirs = (client.sessions.create("adamw", hold_params=hold) for _ in range(2))
    after = [session.step(params, params) for session in (ours, theirs)]
    grads = [{"layer": {"w": g, "b": np.float32([2])}} for g in (compressed, dense)]
    beside = [None, None] if hold else after
    previews = [s.preview(p, g).params for s, p, g in zip((ours, theirs), beside, grads, strict=True)]
    after = [session.step(p, g) for session, p, g in zip((ours, theirs), beside, grads, strict=True)]
    assert (
        bits(previews[0]["layer"]) == bits(previews[1]["layer"]) == bits(after[0]["layer"]) == bits(after[1]["layer"])
    )
    assert ours.digest == theirs.digest


def test_rows_are_the_step_of_zeros_elsewhere(connect: Connect) -> None:
    client, g = connect("memory:"), np.zeros_like(W)
    g[[0, 2]] = W[1:]
    ours, theirs = (client.sessions.create("adamw", hold_params=True) for _ in range(2))
    for session in (ours, theirs):
        session.step({"w": W}, {"w": W})
    preview = ours.preview(grads={"w": Rows([0, 2], W[1:])}).params
    after, dense = ours.step(grads={"w": Rows([0, 2], W[1:])}), theirs.step(grads={"w": g})
    for answered in (preview, after):
        assert bits({"w": answered["w"].values}) == bits({"w": dense["w"][[0, 2]]})
    assert ours.digest == theirs.digest
    ours.step(grads={"w": Rows([1], W[:1])}, return_params=False)


def test_the_parts_of_a_gradient_are_sent_in_their_sections() -> None:
    grads = {"a": FORMS["top-k"][0], "b": Int8(Q, [0.5]), "c": Rows([3, 17], Int8(Q[:2], 2)), "d": W.T}
    assert bits(sent(grads)) == bits(
        {
            "grads/a": np.float32([-0.5, 2, 0.25]), "at/a": np.int64(AT), "grads/b": Q, "scale/b": np.float32([0.5]),
            "grads/c": Q[:2], "rows/c": np.int64([3, 17]), "scale/c": np.float32([2]), "grads/d": W.T.copy(),
        }
    )  # fmt: skip


def test_a_wire_dtype_narrows_the_values_that_are_sent() -> None:
    grads = {"a": FORMS["top-k"][0], "b": Int8(Q, 0.5), "c": Rows([1], W[:1])}
    found = {name: x.dtype.name for name, x in sent(grads, hold_params=True, wire_dtype="bfloat16").items()}
    assert found == {
        "grads/a": "bfloat16", "at/a": "int64", "grads/b": "int8", "scale/b": "float32", "grads/c": "bfloat16",
        "rows/c": "int64",
    }  # fmt: skip


@pytest.mark.parametrize("wire", [None, "bfloat16"])
def test_rows_come_back_as_rows_of_the_parameters(wire: str | None) -> None:
    state = SessionState(SessionInfo.read(SESSION | {"hold_params": True, "wire_dtype": wire}))
    indices = np.array([3, 17])
    call = state._step(None, {"emb": Rows(indices, W[:2]), "w": W})
    indices[:] = 0
    about = {"step": str(state.info.step + 1), "skipped": "false", "digest": "d"}
    dtype = ml_dtypes.bfloat16 if wire else np.float32
    tensors = {"rows": {"emb": np.int64([3, 17])}, "params": {"emb": W[1:].astype(dtype), "w": W.astype(dtype)}}
    answer = package.save(
        {f"{kind}/{name}": x for kind in tensors for name, x in tensors[kind].items()}, about | METRICS
    )
    after = call.read(Response(200, {}, answer))
    assert isinstance(after["emb"], Rows)
    assert bits({"rows": after["emb"].indices}) == bits({"rows": np.int64([3, 17])})
    assert bits({"emb": after["emb"].values, "w": after["w"]}) == bits(
        {"emb": W[1:].astype(dtype).astype(np.float32), "w": W.astype(dtype).astype(np.float32)}
    )


def test_the_same_gradients_are_the_same_bytes() -> None:
    state = SessionState(SessionInfo.read(SESSION))
    bodies = [state._step(None, {"a": FORMS["top-k of int8"][0], "b": W}).request.body for _ in range(2)]
    assert b"".join(bodies[0]) == b"".join(bodies[1])  # type: ignore[arg-type]


METRICS = {"metrics": '{"lr": 1, "grad_norm": 1, "update_norm": 1, "param_norm": 1, "clip_scale": 1}'}
EMPTY = TopK([], np.float32([]))
REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "fractions": (TopK([0.5], [1.0]), TypeError, "its indices have dtype float64; expected integers, such as int64"),
    "too large": (TopK(np.uint64([2**64 - 1]), [1.0]), ValueError, "indices have 18446744073709551615"),
    "flags": (TopK([True], [1.0]), TypeError, "its indices have dtype bool; expected integers, such as int64"),
    "a matrix of indices": (TopK([[1]], [1.0]), ValueError, "its indices have the shape [1, 1]; expected a vector"),
    "too few values": (
        TopK([1, 2], [1.0]), ValueError, "2 indices, and values of shape [1]; expected the shape [2]",
    ),
    "rows for elements": (
        TopK([1], [[1.0]]), ValueError, "1 indices, and values of shape [1, 1]; expected the shape [1]",
    ),
    "a number for rows": (Rows([1], 1.0), ValueError, "1 indices, and values of shape []; expected the shape [1, …]"),
    "no scale": (Int8(np.int8([1]), None), TypeError, "is Int8 with the scale None; expected a number"),
    "wide integers": (Int8([1], 1), TypeError, "is Int8 of dtype int64; expected int8"),
    "three scales": (
        Int8(np.zeros(257, np.int8), [1, 2, 3]), ValueError,
        "is Int8 of 257 elements with scales of shape [3]; expected one scale, or [2], each for a block of 256",
    ),
    "integers alone": (Q, TypeError, "has unknown dtype int8; expected one of float64, float32, float16, bfloat16"),
    "values without a dtype": (Rows([1], ["x"]), TypeError, "has unknown dtype <U1"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", REFUSED)
def test_parts_that_do_not_fit_are_refused_unsent(wrong: str) -> None:
    g, error, message = REFUSED[wrong]
    with pytest.raises(error) as caught:
        sent({"w": g})
    assert str(caught.value).startswith("grads['w']")
    assert message in str(caught.value)


def test_a_gradient_without_an_index_is_sent() -> None:
    assert bits(sent({"w": EMPTY})) == bits({"grads/w": np.float32([]), "at/w": np.int64([])})
