"""The clients with a real service: in one process, and in two. The bits are the same everywhere."""

from typing import Any

import numpy as np
import pytest
from optim_client import InvalidSession, NonFinite, SessionNotFound, TensorMismatch

from tests.client.training import bits, some_params, train


def test_parameters_have_the_engines_bits_everywhere(client: Any, unbroken: dict[str, Any]) -> None:
    session = client.sessions.create("adamw", lr=0.01)
    params = train(session, some_params(), range(1, 11))
    assert bits(params) == unbroken
    assert session.info.step == session.get().step == 10


def test_a_session_lives_from_its_creation_to_its_deletion(client: Any) -> None:
    session = client.sessions.create("adamw", lr=0.01, labels={"run": "1"}, ttl_seconds=600, clip={"global_norm": 1.0})
    assert (session.info.hyperparameters["lr"], session.info.labels, session.info.step) == (0.01, {"run": "1"}, 0)
    train(session, some_params(), range(1, 4))
    assert session.metrics.lr == 0.01
    assert session.metrics.grad_norm > session.metrics.clip_scale > 0

    again = client.sessions.get(session.id)
    assert again.info == session.get()
    assert again.digest == session.digest
    assert again.info.tensors["encoder/0/weight"].shape == (3, 5)
    assert again.info.tensors["scale"].shape == ()
    assert session.history().step.tolist() == [1, 2, 3]
    assert session.history(last=2).step.tolist() == [2, 3]
    assert session.history(points=2).step.tolist() == [1, 2, 3]
    assert session.history(points=1).step.tolist() == [3]
    assert [(row.step, row.loss, row.grad_norm) for row in session.history(after=2, limit=1)] == [
        (3, 1 / 3, session.metrics.grad_norm)
    ]

    assert session.update(lr=0.5, labels={"run": None}).hyperparameters["lr"] == 0.5
    assert client.sessions.update(session.id, clip=None).info.clip is None
    assert session.get().labels == {}

    session.delete()
    with pytest.raises(SessionNotFound, match=session.id) as raised:
        session.get()
    assert raised.value.request_id


def test_a_wrong_setting_or_tensor_is_named(client: Any) -> None:
    with pytest.raises(InvalidSession, match="momentun"):
        client.sessions.create("sgd", lr=0.1, momentun=0.9)
    session = client.sessions.create("sgd", lr=0.1)
    w = {"w": np.float32([1, 2])}
    session.step(w, w)
    with pytest.raises(TensorMismatch) as mismatch:
        session.step({"w": np.float32([1, 2, 3])}, {"w": np.float32([1, 2, 3])})
    assert (mismatch.value.tensor, mismatch.value.expected) == ("w", "float32 [2]")
    assert mismatch.value.got == "float32 [3]"
    with pytest.raises(NonFinite) as non_finite:
        session.step(w, {"w": np.float32([1, np.nan])})
    assert (non_finite.value.tensor, non_finite.value.index) == ("w", [1])
    assert session.get().step == session.info.step == 1


def test_an_average_comes_in_the_structure_that_is_asked_for(client: Any) -> None:
    session = client.sessions.create("sgd", lr=1.0, hold_params=True, average={"decay": 0.5})
    assert session.info.average == {"decay": 0.5}
    for params in ({"w": [np.float32([8, 4])]}, None):
        session.step(params, {"w": [np.float32([1, 2])]})
    w = session.params(view="average")["w/0"]
    np.testing.assert_allclose(w, np.float32([7 + 2 * 6, 2]) / 3, rtol=1e-6)
    assert np.array_equal(session.params({"w": [w]}, view="average")["w"][0], w)


def test_parameters_that_are_not_finite_come_as_they_are(client: Any) -> None:
    session = client.sessions.create("sgd", lr=1e30, hold_params=True)
    large = {"w": np.float32([1e30, -1e30, 0])}
    params = session.step(large, large)
    assert params["w"].tolist() == [-np.inf, np.inf, 0]
    assert bits(session.params()) == bits(params)
    assert (session.metrics.param_norm, session.metrics.update_norm) == (np.inf, np.inf)
    session.put_params({"w": np.float32([np.nan, -0.0, 1e-45])})
    assert bits(session.params()) == bits({"w": np.float32([np.nan, -0.0, 1e-45])})
