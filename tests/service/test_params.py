"""Parameters that a session holds: put, stepped with gradients alone, read back."""

import threading
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client

from app.compute import INLINE_BELOW
from app.routes import params as routes
from optim_engine import Config, State, held_params
from optim_engine import step as engine_step
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, W, binary_step, bits, create, problem, read_binary, step, stepped

BINARY = {"content-type": SAFETENSORS}


def some_params() -> dict[str, Any]:
    draw = np.random.default_rng(0).standard_normal
    return {
        "w": draw((3, 2), np.float32),
        "double": draw(2),
        "half": draw(3).astype(np.float16),
        "brain": draw(3).astype(ml_dtypes.bfloat16),
        "scale": np.float32(0.5),
        "none": np.zeros((0, 2), np.float32),
    }


def some_grads(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed).standard_normal
    return {name: np.asarray(draw(θ.shape)).astype(θ.dtype) for name, θ in some_params().items()}


def held(client: Client, session: str) -> dict[str, Any]:
    return read_binary(client.get(f"{session}/params", headers={"accept": SAFETENSORS}))[0]


def put(client: Client, session: str, params: dict[str, Any]) -> None:
    answer = client.put(f"{session}/params", content=encode({"params": params}, {}), headers=BINARY)
    assert (answer.status_code, answer.content) == (204, b"")


def expected_after(steps: int) -> dict[str, Any]:
    config, state, params = Config.parse("adamw"), State.empty(), some_params()
    for number in range(1, steps + 1):
        outcome = engine_step(config, state, params, some_grads(number))
        state, params = outcome.state, outcome.params
    return params


@pytest.mark.parametrize("given", ["by PUT", "with the first step"])
def test_held_parameters_are_given_once_and_stepped_with_gradients_alone(client: Client, given: str) -> None:
    session = create(client, hold_params=True)
    first = None
    if given == "by PUT":
        put(client, session, some_params())
        assert bits(held(client, session)) == bits(some_params())
    else:
        first = some_params()
    for number in range(1, 4):
        answer = binary_step(client, session, some_grads(number), first, step=number)
        first = None
    assert bits(read_binary(answer)[0]) == bits(held(client, session)) == bits(expected_after(3))


def test_parameters_are_put_and_read_as_json_too(client: Client) -> None:
    session = create(client, hold_params=True)
    params = {"w": [[0.1, 0.2]], "b": {"dtype": "float64", "shape": [1], "data": [0.1]}}
    assert client.put(f"{session}/params", json={"params": params}).status_code == 204
    answer = client.get(f"{session}/params")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"params": params}


def test_a_parameter_that_is_not_finite_is_read_in_base64(client: Client) -> None:
    session = create(client, hold_params=True)
    put(client, session, {"w": np.float32([np.nan, 1])})
    assert client.get(f"{session}/params").json()["params"]["w"]["base64"] == "AADAfwAAgD8="


def test_a_session_without_parameters_has_none_to_read(client: Client) -> None:
    assert client.get(f"{create(client, hold_params=True)}/params").json() == {"params": {}}


def test_what_is_put_replaces_what_it_names_and_nothing_else(client: Client) -> None:
    session = create(client, hold_params=True)
    put(client, session, some_params())
    binary_step(client, session, some_grads(1))
    before, moments = held(client, session), moments_of(client, session)
    w = np.ones((3, 2), np.float32)
    put(client, session, {"w": w, "new": np.float32([1])})
    assert bits(held(client, session)) == bits(before | {"w": w, "new": np.float32([1])})
    assert bits(moments_of(client, session)) == bits(moments)
    document = client.get(session).json()
    assert (document["step"], document["tensors"]["w"]["step"], document["tensors"]["new"]["step"]) == (1, 1, 0)


def moments_of(client: Client, session: str) -> dict[str, Any]:
    state = client.get(f"{session}/state")
    return {f"{kind}/{name}": array for kind in "mv" for name, array in read_binary(state, kind)[0].items()}


def test_a_put_changes_the_digest_and_the_etag(client: Client) -> None:
    session = create(client, hold_params=True)
    put(client, session, {"w": np.float32([1])})
    before = client.get(session)
    put(client, session, {"w": np.float32([2])})
    after = client.get(session)
    assert before.json()["digest"] != after.json()["digest"]
    assert before.headers["etag"] != after.headers["etag"]


def test_a_skipped_step_leaves_held_parameters_as_they_were(client: Client) -> None:
    session = create(client, hold_params=True, on_non_finite="skip")
    put(client, session, some_params())
    answer = binary_step(client, session, some_grads(1) | {"double": np.array([np.inf, 1])})
    params, metadata = read_binary(answer)
    assert metadata["skipped"] == "true"
    assert bits(params) == bits(held(client, session)) == bits(some_params())


def test_parameters_that_come_with_a_skipped_step_are_held(client: Client) -> None:
    session = create(client, hold_params=True, on_non_finite="skip")
    skipped = binary_step(client, session, some_grads(1) | {"double": np.array([np.inf, 1])}, some_params(), step=1)
    assert read_binary(skipped)[1]["skipped"] == "true"
    assert bits(held(client, session)) == bits(some_params())
    answer = binary_step(client, session, some_grads(1), step=1)
    assert bits(read_binary(answer)[0]) == bits(expected_after(1))


def test_a_step_sends_the_parameters_of_new_tensors_only(client: Client) -> None:
    session = create(client, hold_params=True)
    stepped(client, session, **W)
    both = {"w": [0.5, -0.25], "v": [1.0]}
    assert problem(step(client, session, grads=both), 422, "tensor_mismatch")["tensor"] == "v"
    after = stepped(client, session, grads=both, params={"v": [1.0]})["params"]
    assert after.keys() == {"w", "v"}
    assert held(client, session).keys() == {"w", "v"}


def test_a_step_with_a_held_parameter_is_refused(client: Client) -> None:
    session = create(client, hold_params=True)
    stepped(client, session, **W)
    refused = problem(step(client, session, **W), 422, "tensor_mismatch")
    assert refused["tensor"] == "w"
    assert "send only its gradient" in refused["detail"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_session_that_holds_none_says_so(client: Client, method: str) -> None:
    session = create(client)
    body: dict[str, Any] = {"json": {"params": {"w": [1]}}} if method == "PUT" else {}
    refused = problem(client.request(method, f"{session}/params", **body), 422, "invalid_session")
    assert "hold_params" in refused["detail"]


@pytest.mark.parametrize("w", [np.float32([1, 2, 3]), np.float32([[1, 2]]), np.float64([1, 2]), np.float16([1, 2])])
def test_a_parameter_with_another_shape_or_dtype_is_refused(client: Client, w: Any) -> None:
    session = create(client, hold_params=True)
    stepped(client, session, **W)
    before = client.get(session).content
    answer = client.put(f"{session}/params", content=encode({"params": {"w": w}}, {}), headers=BINARY)
    assert problem(answer, 422, "tensor_mismatch")["expected"] == "float32 [2]"
    assert client.get(session).content == before


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"w": [1]}', b'{"params": {"w": [1]}, "grads": {}}', b'{"params": {"w": ["1"]}}']
)
def test_a_body_that_is_no_parameters_is_refused(client: Client, body: bytes) -> None:
    session = create(client, hold_params=True)
    answer = client.put(f"{session}/params", content=body, headers={"content-type": "application/json"})
    problem(answer, 400, "malformed_body")


def test_gradients_are_no_parameters(client: Client) -> None:
    session = create(client, hold_params=True)
    body = encode({"grads": {"w": [1.0]}}, {})
    problem(client.put(f"{session}/params", content=body, headers=BINARY), 400, "malformed_body")


AVERAGED = {"hold_params": True, "on_non_finite": "skip", "average": {"decay": 0.5}}


def average(client: Client, session: str) -> dict[str, Any]:
    return read_binary(client.get(f"{session}/params?view=average", headers={"accept": SAFETENSORS}))[0]


def test_an_average_is_of_the_parameters_after_each_step(client: Client) -> None:
    session = create(client, "sgd", **AVERAGED)
    put(client, session, {"w": np.float32([1, 2]), "later": np.float32([3])})
    first, second = (stepped(client, session, grads={"w": [100.0, -50.0]})["params"]["w"] for _ in range(2))
    expected = (np.float32(first) + 2 * np.float32(second)) / 3
    np.testing.assert_allclose(average(client, session)["w"], expected, rtol=1e-6)
    assert average(client, session)["later"] == 3
    answer = client.get(f"{session}/params?view=average")
    assert np.array_equal(np.float32(answer.json()["params"]["w"]), average(client, session)["w"])
    assert client.get(f"{session}/params").json()["params"]["w"] == second


def test_a_put_and_a_skipped_step_leave_the_average(client: Client) -> None:
    session = create(client, "sgd", **AVERAGED)
    put(client, session, some_params())
    binary_step(client, session, some_grads(1))
    before = bits(average(client, session))
    put(client, session, {"w": np.zeros((3, 2), np.float32)})
    assert read_binary(binary_step(client, session, {"scale": np.float32(np.inf)}))[1]["skipped"] == "true"
    assert bits(average(client, session)) == before


def test_an_average_goes_on_in_a_fork_and_a_file(client: Client) -> None:
    session = create(client, "adamw", **AVERAGED)
    put(client, session, some_params())
    binary_step(client, session, some_grads(1))
    file = client.get(f"{session}/state").content
    made = client.post(f"{session}/fork", json={}), client.post("/v1/sessions", content=file, headers=BINARY)
    sessions = [session, *(f"/v1/sessions/{answer.json()['id']}" for answer in made)]
    for one in sessions:
        binary_step(client, one, some_grads(2))
    assert len({client.get(one).json()["digest"] for one in sessions}) == 1
    assert bits(average(client, sessions[1])) == bits(average(client, session)) == bits(average(client, sessions[2]))


@pytest.mark.parametrize("other", [None, {"decay": 0.75}])
def test_a_state_file_with_another_average_is_refused(client: Client, other: Any) -> None:
    session, into = create(client, **AVERAGED), create(client, **{**AVERAGED, "average": other})
    put(client, session, some_params())
    binary_step(client, session, some_grads(1))
    answer = client.put(f"{into}/state", content=client.get(f"{session}/state").content, headers=BINARY)
    decay = other and other["decay"]
    refused = problem(answer, 422, "invalid_state")["detail"]
    assert refused == f"the decay of `average` is 0.5 in the file, {decay} in the session"


def test_a_view_that_the_session_lacks_names_those_it_has(client: Client) -> None:
    plain, averaged = create(client, hold_params=True), create(client, **AVERAGED)
    refused = problem(client.get(f"{plain}/params?view=average"), 422, "invalid_session")
    assert refused["detail"].endswith("that steps answer; create one with `average`")
    refused = problem(client.get(f"{averaged}/params?view=eval"), 422, "invalid_session")
    assert refused["detail"].endswith("it has average; create one by `schedule_free_adamw` or `schedule_free_sgd`")
    problem(client.get(f"{averaged}/params?view=other"), 400, "malformed_query")


def test_a_state_file_gives_the_same_parameters_to_evaluate_with(client: Client) -> None:
    session = create(client, "schedule_free_adamw", hold_params=True)
    put(client, session, some_params())
    for number in (1, 2):
        binary_step(client, session, some_grads(number))
    file = client.get(f"{session}/state").content
    resumed = f"/v1/sessions/{client.post('/v1/sessions', content=file, headers=BINARY).json()['id']}"
    for number in (3, 4):
        before = bits(held(client, session))
        x = [evaluated(client, one) for one in (session, resumed)]
        assert bits(x[0]) == bits(x[1]) != before
        for one in (session, resumed):
            binary_step(client, one, some_grads(number))
    y = some_params()
    put(client, session, y)
    assert bits(held(client, session)) == bits(y)
    w = client.get(f"{session}/params?view=eval").json()["params"]["w"]
    assert np.array_equal(np.float32(w), evaluated(client, session)["w"])


def evaluated(client: Client, session: str) -> dict[str, Any]:
    return read_binary(client.get(f"{session}/params?view=eval", headers={"accept": SAFETENSORS}))[0]


def rows_of(client: Client, session: str, rows: dict[str, Any], **headers: str) -> Any:
    return client.post(f"{session}/params/rows", json={"rows": rows}, headers=headers)


def test_rows_are_read_in_both_forms(client: Client) -> None:
    session = create(client, hold_params=True)
    put(client, session, some_params())
    answer = rows_of(client, session, {"w": [0, 2], "half": [1]})
    w, half = answer.json()["params"].values()
    assert (w["rows"], half["rows"], half["dtype"]) == ([0, 2], [1], "float16")
    assert np.float32(w["data"]).tolist() == some_params()["w"][[0, 2]].tolist()
    assert np.float16(half["data"]).tolist() == some_params()["half"][[1]].tolist()
    answer = rows_of(client, session, {"w": [0, 2]}, accept=SAFETENSORS)
    assert bits(read_binary(answer)[0]) == bits({"w": some_params()["w"][[0, 2]]})
    assert read_binary(answer, "rows")[0]["w"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("rows", "status", "code", "words"),
    [
        ({"w": [3]}, 422, "tensor_mismatch", "row 3 is out of range: it has rows 0 to 2"),
        ({"x": [0]}, 422, "tensor_mismatch", "'x' is not held"),
        ({"scale": [0]}, 422, "tensor_mismatch", "has no rows"),
        ({"w": [1, 0]}, 400, "malformed_body", "strictly increasing"),
    ],
)
def test_rows_that_are_not_held_are_refused(
    client: Client, rows: dict[str, Any], status: int, code: str, words: str
) -> None:
    session = create(client, hold_params=True)
    put(client, session, some_params())
    assert words in problem(rows_of(client, session, rows), status, code)["detail"]


def test_long_rows_are_read_on_a_thread(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    session, threads = create(client, hold_params=True), set[threading.Thread]()
    put(client, session, {"w": np.ones((1, INLINE_BELOW), np.float32)})

    def read(state: State, rows: Any) -> Any:
        threads.add(threading.current_thread())
        return held_params(state, rows)

    monkeypatch.setattr(routes, "held_params", read)
    assert rows_of(client, session, {"w": [0]}, accept=SAFETENSORS).status_code == 200
    assert threads.isdisjoint({threading.main_thread()})


def test_rows_of_a_session_without_parameters_are_refused(client: Client) -> None:
    session = create(client)
    stepped(client, session, **W)
    problem(rows_of(client, session, {"w": [0]}), 422, "invalid_session")


def test_parameters_are_read_with_the_decay_of_lazy_rows(client: Client) -> None:
    settings = {"hyperparameters": {"lr": 0.1, "weight_decay": 0.5}, "groups": [{"match": ["w"], "sparse": "lazy"}]}
    session = create(client, hold_params=True, **settings)
    put(client, session, {"w": np.ones((3, 1), np.float32)})
    stepped(client, session, grads={"w": [[0.0], [0.0], [0.0]]})
    stepped(client, session, grads={"w": {"rows": [1], "data": [[0.0]]}})
    whole = held(client, session)["w"]
    assert whole.tolist() == [[float(np.float32(0.9025))]] * 3
    answer = rows_of(client, session, {"w": [0, 1]}, accept=SAFETENSORS)
    assert bits(read_binary(answer)[0]) == bits({"w": whole[:2]})


def test_an_undone_step_takes_the_average_and_shared_numbers_back(client: Client) -> None:
    session = create(client, "prodigy", **AVERAGED, undo=1, hyperparameters={"d0": 0.1})
    put(client, session, some_params())
    binary_step(client, session, some_grads(1))
    before, digest = bits(average(client, session)), client.get(session).json()["digest"]
    binary_step(client, session, {"w": some_grads(2)["w"]})
    assert bits(average(client, session)) != before
    assert client.post(f"{session}/undo", json={"step": 2}).status_code == 200
    assert (bits(average(client, session)), client.get(session).json()["digest"]) == (before, digest)
