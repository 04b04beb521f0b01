"""The client with a wire dtype: a training loop has float32 on both sides and sends half the bytes."""

import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from optim_client import NonFinite, TensorMismatch
from optim_client._state import SessionState
from optim_client._tensors import Arrays, decode, narrowed
from optim_client.documents import SessionInfo

from tests.client.conftest import Connect
from tests.client.documents import SESSION
from tests.service.calls import bits

WIRE = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
each_wire_dtype = pytest.mark.parametrize("wire", WIRE)


@pytest.fixture
def client(connect: Connect) -> Any:
    return connect("memory:")


def some_params() -> Arrays:
    draw = np.random.default_rng(0).standard_normal
    return {"w": draw((70, 1000), np.float32), "bias": draw(4, np.float32), "scale": np.asarray(0.5, np.float32)}


def some_grads(number: int) -> Arrays:
    draw = np.random.default_rng(number).standard_normal
    return {name: np.asarray(draw(θ.shape), np.float32) for name, θ in some_params().items()}


def cast(arrays: Arrays, dtype: Any) -> Arrays:
    return {name: array.astype(dtype) for name, array in arrays.items()}


@each_wire_dtype
def test_float32_gradients_travel_rounded_and_return_as_float32(client: Any, wire: str) -> None:
    session = client.sessions.create("adamw", hold_params=True, wire_dtype=wire)
    exact = client.sessions.create("adamw", hold_params=True)
    assert session.info.wire_dtype == wire
    for each in (session, exact):
        each.put_params(some_params())
    for number in (1, 2, 3):
        params = session.step(grads=some_grads(number))
        rounded = exact.step(grads=cast(cast(some_grads(number), WIRE[wire]), np.float32))
        assert bits(params) == bits(cast(cast(rounded, WIRE[wire]), np.float32))
        assert list(params) == list(some_grads(number))
    assert bits(session.params()) == bits(exact.params())
    params["w"][0, 0] = 7.0


@each_wire_dtype
def test_a_gradient_in_the_wire_dtype_is_answered_in_it(client: Any, wire: str) -> None:
    session = client.sessions.create("adamw", hold_params=True, wire_dtype=wire)
    params = session.step(some_params(), some_grads(1) | {"w": some_grads(1)["w"].astype(WIRE[wire])})
    assert {name: array.dtype.name for name, array in params.items()} == {
        "w": wire, "bias": "float32", "scale": "float32",
    }  # fmt: skip
    with pytest.raises(TensorMismatch, match="float64"):
        session.step(grads=cast(some_grads(2), np.float64))


def test_a_gradient_beyond_float16_is_refused_by_name(client: Any) -> None:
    session = client.sessions.create("adamw", hold_params=True, wire_dtype="float16")
    with pytest.raises(NonFinite) as caught:
        session.step(some_params(), {**some_grads(1), "bias": np.full(4, 1e5, np.float32)})
    assert caught.value.tensor == "bias"


def test_gradients_travel_in_the_wire_dtype() -> None:
    session = SessionState(SessionInfo.read(SESSION | {"hold_params": True, "wire_dtype": "bfloat16"}))
    body = session._step(None, some_grads(1)).request.body
    arrays, _ = decode(b"".join(body), "grads")  # type: ignore[arg-type]
    assert bits(arrays) == bits(cast(some_grads(1), ml_dtypes.bfloat16))


def test_a_service_without_the_setting_has_no_wire_dtype() -> None:
    told = {name: value for name, value in SESSION.items() if name != "wire_dtype"}
    assert SessionInfo.read(told).wire_dtype is None


@pytest.mark.long
def test_bfloat16_without_ml_dtypes_names_the_package() -> None:
    program = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "from optim_client._tensors import narrowed\n"
        "narrowed({'w': 1.0}, 'float16')\n"
        "try:\n    narrowed({'w': 1.0}, 'bfloat16')\n"
        "except ImportError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "the session's wire_dtype is bfloat16, which needs ml_dtypes: pip install ml_dtypes\n"


@each_wire_dtype
def test_rounding_is_to_nearest_even_and_spares_other_dtypes(wire: str) -> None:
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8] if wire == "bfloat16" else [1 + 2**-11, 1 + 3 * 2**-11], np.float32)
    grads = narrowed({"ties": ties, "double": np.ones(1), "list": [1.0]}, wire)
    assert grads["ties"].astype(np.float64).tolist() == [1, 1 + (2**-6 if wire == "bfloat16" else 2**-9)]
    assert (grads["double"].dtype, grads["list"].dtype) == (np.float64, np.float64)
