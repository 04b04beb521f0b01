"""Steps: every form in, every form out, and the numbers of the engine in all of them."""

import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client

from optim_engine import Config, Outcome, State
from optim_engine import step as engine_step
from tests.service.calls import SAFETENSORS, W, binary_step, bits, create, read_binary, step, stepped

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
JSON = "application/json"


def draw(seed: int, dtype: str = "float32", shape: tuple[int, ...] = (3, 2)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(DTYPES[dtype])


def written(array: np.ndarray[Any, Any], form: str) -> Any:
    """A tensor in one of JSON's three forms."""
    flat = np.ascontiguousarray(array)
    about = {"dtype": array.dtype.name, "shape": list(array.shape)}
    match form:
        case "list":
            return array.tolist()
        case "data":
            return {**about, "data": flat.reshape(-1).astype(np.float64).tolist()}
        case _:
            return {**about, "base64": b64encode(flat.tobytes()).decode()}


def read(tensor: Any) -> np.ndarray[Any, Any]:
    """A tensor of a JSON answer, in whichever form."""
    if not isinstance(tensor, dict):
        return np.array(tensor, np.float32)
    dtype = DTYPES[tensor["dtype"]]
    if "data" in tensor:
        return np.array(tensor["data"], np.float64).astype(dtype).reshape(tensor["shape"])
    return np.frombuffer(b64decode(tensor["base64"]), np.uint8).view(dtype).reshape(tensor["shape"])


def computed(
    params: Mapping[str, Any], *grads: Mapping[str, Any], optimizer: str = "adamw", **settings: Any
) -> Outcome:
    """Return what the engine alone makes of these steps."""
    config, state = Config.parse(optimizer, **settings), State.empty()
    for given in grads:
        outcome = engine_step(config, state, params, given)
        state, params = outcome.state, outcome.params
    return outcome


def test_the_contract_s_own_example(client: Client) -> None:
    session = create(client)
    answer = step(
        client, session, step=1, params={"w": [[0.1, 0.2]], "b": [0.0]}, grads={"w": [[0.01, -0.3]], "b": [0.2]},
        loss=0.53,
    )  # fmt: skip
    document = answer.json()
    assert answer.headers["content-type"] == JSON
    assert list(document) == ["step", "params", "skipped", "digest", "params_digest", "metrics", "warnings"]
    assert (document["step"], document["skipped"]) == (1, False)
    assert np.allclose(document["params"]["w"], [[0.0990, 0.2010]], atol=1e-5)
    assert np.allclose(document["params"]["b"], [-0.001], atol=1e-8)
    metrics = document["metrics"]
    assert list(metrics) == ["lr", "grad_norm", "update_norm", "param_norm", "clip_scale"]
    assert (metrics["lr"], metrics["clip_scale"]) == (0.001, 1.0)
    assert math.isclose(metrics["grad_norm"], 0.361, abs_tol=5e-4)
    assert math.isclose(metrics["update_norm"], 0.0017, abs_tol=5e-5)
    assert math.isclose(metrics["param_norm"], 0.22, abs_tol=5e-3)
    assert document["digest"] == client.get(session).json()["digest"]


SHAPES: list[tuple[int, ...]] = [(3, 2), (4,), (), (0,), (2, 0), (1, 1, 1, 1)]


@pytest.mark.parametrize(
    ("form", "dtype", "shape"),
    [("list", "float32", shape) for shape in SHAPES]
    + [(form, dtype, shape) for form in ("data", "base64") for dtype in DTYPES for shape in [*SHAPES, (0, 3)]],
)
def test_a_tensor_is_answered_in_its_form_bit_for_bit(
    client: Client, form: str, dtype: str, shape: tuple[int, ...]
) -> None:
    θ, g = draw(1, dtype, shape), draw(2, dtype, shape)
    tensor = stepped(client, create(client), params={"w": written(θ, form)}, grads={"w": written(g, form)})["params"][
        "w"
    ]
    if form == "list":
        assert not isinstance(tensor, dict)
    else:
        assert tensor.keys() == {"dtype", "shape", form}
        assert (tensor["dtype"], tensor["shape"]) == (dtype, list(shape))
    assert bits({"w": read(tensor)}) == bits(computed({"w": θ}, {"w": g}).params)


def test_each_tensor_of_a_step_has_its_own_form(client: Client) -> None:
    w = draw(1)
    forms = {"a": "list", "b": "data", "c": "base64"}
    tensors = {name: written(w, form) for name, form in forms.items()}
    params = stepped(client, create(client), params=tensors, grads=tensors)["params"]
    assert isinstance(params["a"], list)
    assert "data" in params["b"]
    assert "base64" in params["c"]
    assert len(set(bits({name: read(tensor) for name, tensor in params.items()}).values())) == 1


def test_the_parameter_s_form_decides_where_its_gradient_has_another(client: Client) -> None:
    w = draw(1)
    grads = {"a": written(w, "list"), "b": written(w, "base64")}
    params = {"a": written(w, "base64"), "b": written(w, "data")}
    after = stepped(client, create(client), params=params, grads=grads)["params"]
    assert ("base64" in after["a"], "data" in after["b"]) == (True, True)


def test_whole_numbers_and_bare_numbers_are_tensors_too(client: Client) -> None:
    after = stepped(client, create(client, "sgd", hyperparameters={"lr": 0.5}), params={"w": 3, "v": [1, 2.5]},
                    grads={"w": 1, "v": [0, 1]})["params"]  # fmt: skip
    assert after == {"w": 2.5, "v": [1.0, 2.0]}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_binary_step_has_the_engine_s_own_bits(client: Client, dtype: str) -> None:
    session = create(client)
    shapes: dict[str, tuple[int, ...]] = {"w": (3, 2), "layer/0/b": (4,), "scale": (), "none": (0, 3)}
    params = {name: draw(i, dtype, shape) for i, (name, shape) in enumerate(shapes.items())}
    steps = [
        {name: draw(10 * n + i, dtype, shape) for i, (name, shape) in enumerate(shapes.items())} for n in (1, 2, 3)
    ]
    after: Mapping[str, Any] = params
    for number, grads in enumerate(steps, 1):
        after, metadata = read_binary(binary_step(client, session, grads, after, step=number, loss=0.5))
        assert (metadata["step"], metadata["skipped"]) == (str(number), "false")
        assert metadata.keys() == {"step", "skipped", "digest", "params_digest", "metrics", "warnings"}
    assert bits(after) == bits(computed(params, *steps).params)
    assert metadata["digest"] == client.get(session).json()["digest"]


def test_an_octet_stream_is_safetensors(client: Client) -> None:
    w = {"w": draw(1)}
    answer = binary_step(client, create(client), w, w, headers={"content-type": "application/octet-stream"})
    assert bits(read_binary(answer)[0]) == bits(computed(w, w).params)


def test_json_and_binary_steps_of_one_session_may_alternate(client: Client) -> None:
    session, w, grads = create(client), {"w": draw(1)}, [{"w": draw(n)} for n in range(2, 6)]
    after: Mapping[str, Any] = w
    for number, g in enumerate(grads):
        if number % 2:
            after = read_binary(binary_step(client, session, g, after))[0]
        else:
            tensors = {name: {"w": written(array["w"], "list")} for name, array in (("params", after), ("grads", g))}
            after = {"w": read(stepped(client, session, **tensors)["params"]["w"])}
    assert bits(after) == bits(computed(w, *grads).params)


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (JSON, JSON),
        (SAFETENSORS, SAFETENSORS),
        ("application/octet-stream", SAFETENSORS),
        (f"{SAFETENSORS};q=0.5, {JSON}", JSON),
        (f"text/html, {SAFETENSORS}, application/problem+json", SAFETENSORS),
        (f"{JSON};q=0, {SAFETENSORS}", SAFETENSORS),
        ("APPLICATION/JSON; charset=utf-8", JSON),
    ],
)
@pytest.mark.parametrize("sent", [JSON, SAFETENSORS])
def test_accept_picks_the_answer_s_form(client: Client, sent: str, accept: str, answered: str) -> None:
    session, w = create(client), {"w": draw(1)}
    expected = bits(computed(w, w).params)
    if sent == JSON:
        tensors = {"w": written(w["w"], "list")}
        answer = client.post(f"{session}/steps", json={"params": tensors, "grads": tensors}, headers={"accept": accept})
    else:
        answer = binary_step(client, session, w, w, headers={"accept": accept})
    assert answer.headers["content-type"] == answered
    params = read_binary(answer)[0] if answered == SAFETENSORS else {"w": read(answer.json()["params"]["w"])}
    assert bits(params) == expected


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html;q=0.9, */*;q=0.1"])
def test_any_answer_is_one_in_the_request_s_own_form(client: Client, accept: str) -> None:
    session, w = create(client), {"w": draw(1)}
    assert binary_step(client, session, w, w, headers={"accept": accept}).headers["content-type"] == SAFETENSORS
    answer = client.post(
        f"{session}/steps", json=W | {"grads": {"v": 1}, "params": {"v": 1}}, headers={"accept": accept}
    )
    assert answer.headers["content-type"] == JSON


def test_shapes_that_lists_lack_are_answered_as_flat_data(client: Client) -> None:
    w = {"w": draw(1, "bfloat16"), "v": draw(1, "float64"), "u": draw(1)}
    answer = binary_step(client, create(client), w, w, headers={"accept": JSON}).json()
    assert answer["params"]["w"].keys() == answer["params"]["v"].keys() == {"dtype", "shape", "data"}
    assert isinstance(answer["params"]["u"], list)
    assert bits({name: read(tensor) for name, tensor in answer["params"].items()}) == bits(computed(w, w).params)


@pytest.mark.parametrize("form", ["list", "data"])
def test_a_parameter_that_is_not_finite_is_answered_in_base64(client: Client, form: str) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 1e30})
    tensors = {"w": written(np.float32([1e30, 1.0]), form)}
    document = stepped(client, session, params=tensors, grads=tensors)
    assert "null" not in step(client, session, params=tensors, grads=tensors).text
    assert read(document["params"]["w"]).tolist() == [-math.inf, np.float32(-1e30)]
    assert document["metrics"]["param_norm"] == document["metrics"]["update_norm"] == "Infinity"


def test_a_metric_that_is_not_finite_is_a_string(client: Client) -> None:
    session = create(client, "sgd")
    nan = {"w": {"dtype": "float32", "shape": [2], "base64": b64encode(np.float32([np.nan, 1]).tobytes()).decode()}}
    document = stepped(client, session, params=nan, grads={"w": [1, 1]})
    assert document["metrics"]["param_norm"] == "NaN"
    assert np.isnan(read(document["params"]["w"])[0])
    rows = client.get(f"{session}/history").json()["history"]
    assert rows[0]["param_norm"] == "NaN"


def test_a_step_of_some_tensors_counts_each_of_them(client: Client) -> None:
    session = create(client)
    a, b = {"a": draw(1)}, {"b": draw(2)}
    for _ in range(3):
        after = read_binary(binary_step(client, session, a, a))[0]
        assert after.keys() == {"a"}
    both = read_binary(binary_step(client, session, a | b, a | b))[0]
    document = client.get(session).json()
    assert (document["step"], document["tensors"]["a"]["step"], document["tensors"]["b"]["step"]) == (4, 4, 1)
    assert bits({"b": both["b"]}) == bits(computed(b, b).params)


def test_a_step_s_own_lr_is_for_that_step_alone(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 0.5}, schedule={"kind": "exponential", "gamma": 0.5})
    one = {"params": {"w": 1.0}, "grads": {"w": 1.0}}
    rates = [stepped(client, session, **one, **({"lr": lr} if lr is not None else {})) for lr in (None, 0.125, 0, None)]
    assert [answer["metrics"]["lr"] for answer in rates] == [0.5, 0.125, 0.0, 0.0625]
    assert [answer["params"]["w"] for answer in rates] == [0.5, 0.875, 1.0, 0.9375]


def test_a_binary_step_has_its_lr_in_the_metadata(client: Client) -> None:
    one = {"w": np.float32(1)}
    session = create(client, "sgd")
    after = read_binary(binary_step(client, session, one, one, lr="0.25"))[0]
    assert after["w"] == 0.75


def test_null_in_a_step_is_as_good_as_absent(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 0.5})
    assert stepped(client, session, params={"w": 1.0}, grads={"w": 1.0}, step=None, lr=None, loss=None)["step"] == 1


@pytest.mark.parametrize(
    ("sent", "row"), [(0.53, 0.53), (2, 2.0), ("NaN", "NaN"), ("-Infinity", "-Infinity"), (None, None)]
)
def test_the_loss_is_recorded_and_nothing_else(client: Client, sent: Any, row: Any) -> None:
    session, other = create(client), create(client)
    after = stepped(client, session, **W, loss=sent)
    assert after == stepped(client, other, **W)
    assert client.get(f"{session}/history").json()["history"][0]["loss"] == row


@pytest.mark.parametrize(("sent", "row"), [("nan", "NaN"), ("inf", "Infinity"), ("0.5", 0.5), ("1e-3", 0.001)])
def test_the_loss_of_a_binary_step_may_be_any_float(client: Client, sent: str, row: Any) -> None:
    session, w = create(client), {"w": draw(1)}
    assert binary_step(client, session, w, w, loss=sent).status_code == 200
    assert client.get(f"{session}/history").json()["history"][0]["loss"] == row


def test_gradients_are_clipped_together_and_the_scale_is_said(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 1.0}, clip={"global_norm": 1.0})
    answer = stepped(client, session, params={"a": 0.0, "b": 0.0}, grads={"a": 3.0, "b": 4.0})
    assert answer["metrics"]["grad_norm"] == 5.0
    assert math.isclose(answer["metrics"]["clip_scale"], 0.2, rel_tol=1e-6)
    assert np.allclose([answer["params"]["a"], answer["params"]["b"]], [-0.6, -0.8], rtol=1e-6)


def test_a_large_step_has_the_same_bits_as_the_engine(client: Client) -> None:
    params, grads = {"w": draw(1, shape=(700_000,))}, {"w": draw(2, shape=(700_000,))}
    after = read_binary(binary_step(client, create(client), grads, params))[0]
    assert bits(after) == bits(computed(params, grads).params)
