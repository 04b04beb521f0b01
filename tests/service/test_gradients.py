"""The gradients of a contribution, examined before they are taken."""

from dataclasses import replace

import numpy as np
import pytest

from app.contributions.gradients import examined
from app.once import Once
from app.session import Session
from app.step import StepRequest
from app.store.piece import PIECE_BYTES
from app.wire.contributions import parts_of
from app.workers.push import Packed, Push, Upload
from optim_engine import Config, State, TensorMismatch
from tests.bodies import encode

N = PIECE_BYTES // 2


def session() -> Session:
    state = State.empty().with_params({"w": np.zeros(N, np.float32)}, None)
    return Session("id", "t", Config.parse("sgd", hold_params=True), 0.0, 0.0, layout=state.layout, counts=state.counts)


def packed(*values: float, size: int = N) -> Packed:
    grads = {"w": np.resize(np.float32(values), size)}
    parts = parts_of(memoryview(encode({"grads": grads}, {})), "token")
    return Packed(Upload(StepRequest(grads, Once("PUT /")), 1), parts, "digest")


def test_finite_gradients_have_a_norm_and_pieces() -> None:
    found = examined(session(), None, packed(2.0), is_stored=True)
    push = found.of(Push("a", 1, "digest"))
    assert push.norm == pytest.approx(2 * N**0.5)
    assert [piece.size for piece in push.pieces][1:] == [PIECE_BYTES, PIECE_BYTES]
    assert b"".join(data for _, data in found.parts) == b"".join(data for _, data in packed(2.0).parts)
    assert len({piece.name for piece in push.pieces}) == len(push.pieces)
    assert examined(session(), None, packed(2.0), is_stored=False).parts == ()


def test_what_is_not_finite_is_named_and_not_stored() -> None:
    found = examined(session(), None, packed(1.0, np.inf), is_stored=True)
    assert found.not_finite is not None
    assert (found.not_finite.tensor, found.not_finite.index, found.parts) == ("w", (1,), ())


def test_gradients_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TensorMismatch, match="w"):
        examined(session(), None, packed(1.0, size=3), is_stored=True)


def test_an_unknown_tensor_is_told_beside_a_known_one() -> None:
    other = State.empty().with_params({"module.w": np.zeros(N, np.float32)}, None)
    for state, words in ((other, "none of the session's, such as 'module.w'"), (State.empty(), "PUT …/params")):
        with pytest.raises(TensorMismatch, match=words):
            examined(replace(session(), layout=state.layout, counts=state.counts), None, packed(1.0), is_stored=True)
