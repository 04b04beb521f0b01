"""The client and the service together: in one process, and in two. Wherever it runs, the bits are the same."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import ml_dtypes
import numpy as np
import pytest
from optim_client import (
    APIConnectionError,
    InvalidSession,
    InvalidState,
    NonFinite,
    PreconditionFailed,
    SessionNotFound,
    StepConflict,
    TensorMismatch,
    _protocol,
)
from optim_client._tensors import Arrays

from app.demo.server import Server
from optim_engine import Config, State, step
from tests.bodies import encode
from tests.client.conftest import Connect

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(params=["near", "far"])
def client(request: pytest.FixtureRequest, connect: Connect, server: Server) -> Any:
    return connect("memory:" if request.param == "near" else server.url)


def some_params() -> Arrays:
    draw = np.random.default_rng(0).standard_normal
    return {
        "encoder/0/weight": draw((5, 3), np.float32).T,
        "encoder/0/bias": draw(8, np.float32)[::2],
        "gewicht-ü": draw((2, 2)),
        "scale": np.asarray(0.5, np.float32),
        "half": draw(6).astype(np.float16),
        "brain": draw(6).astype(ml_dtypes.bfloat16),
        "empty": np.zeros((0, 4), np.float32),
    }


def grads_for(params: Arrays, number: int) -> Arrays:
    draw = np.random.default_rng(number).standard_normal
    return {name: np.asarray(draw(array.shape)).astype(array.dtype) for name, array in params.items()}


def train(session: Any, params: Arrays, steps: range) -> Arrays:
    for number in steps:
        params = session.step(params, grads_for(params, number), loss=1 / number)
    return params


def bits(arrays: Arrays) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in sorted(arrays.items())}


@pytest.fixture(scope="module")
def unbroken() -> dict[str, Any]:
    """What ten steps come to when nothing goes wrong, by the engine alone."""
    config = Config.parse("adamw", hyperparameters={"lr": 0.01})
    state, params = State.empty(), some_params()
    for number in range(1, 11):
        outcome = step(config, state, params, grads_for(params, number))
        state, params = outcome.state, outcome.params
    return bits(params)


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
    assert [row.step for row in session.history()] == [1, 2, 3]
    assert [row.step for row in session.history(last=2)] == [2, 3]
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


def test_sessions_are_listed_page_by_page_newest_first(client: Any) -> None:
    made = [client.sessions.create("sgd", lr=0.1).id for _ in range(3)]
    page = client.sessions.list(limit=2)
    assert [session.id for session in page.sessions] == made[:0:-1]
    older = client.sessions.list(limit=1, cursor=page.next_cursor)
    assert [session.id for session in older.sessions] == made[:1]
    assert [session.id for session in client.sessions][:3] == made[::-1]
    client.sessions.delete(made[0])
    assert made[0] not in [session.id for session in client.sessions]


def test_sessions_are_found_by_label_and_optimizer(client: Any) -> None:
    labels = {"run": f"at 12:30 & later {uuid4()}", "team": str(uuid4())}
    made = [client.sessions.create(name, lr=0.1, labels=labels).id for name in ("sgd", "adamw")]
    client.sessions.create("sgd", lr=0.1, labels={"run": "at 12"})
    assert [session.id for session in client.sessions.find(labels=labels)] == made[::-1]
    assert [session.id for session in client.sessions.find(labels={"team": labels["team"]}, optimizer="sgd")] == made[
        :1
    ]
    page = client.sessions.list(labels={"run": labels["run"]}, optimizer="adamw", limit=1)
    assert [session.id for session in page.sessions] == made[1:]
    assert list(client.sessions.find(labels={"run": "none"})) == []


def test_a_listed_session_has_its_size_and_get_its_tensors(client: Any) -> None:
    labels = {"run": str(uuid4())}
    session = client.sessions.create("adamw", lr=0.01, labels=labels)
    train(session, some_params(), range(1, 2))
    (listed,) = client.sessions.find(labels=labels)
    assert (dict(listed.info.tensors), listed.info.tensor_count) == ({}, len(some_params()))
    assert listed.info.state_bytes > 0
    read = listed.get()
    assert (len(read.tensors), read.tensor_count, read.state_bytes) == (len(some_params()), len(some_params()), None)


def test_held_parameters_are_given_once_and_stepped_with_grads_alone(client: Any, unbroken: dict[str, Any]) -> None:
    session = client.sessions.create("adamw", lr=0.01, hold_params=True)
    session.put_params(some_params())
    assert bits(session.params()) == bits(some_params())
    for number in range(1, 11):
        params = session.step(grads=grads_for(some_params(), number))
    assert bits(params) == bits(session.params()) == unbroken


def test_a_saved_state_goes_on_elsewhere(client: Any, unbroken: dict[str, Any], tmp_path: Path) -> None:
    first = client.sessions.create("adamw", lr=0.01)
    params = train(first, some_params(), range(1, 6))
    first.save_state(tmp_path / "state.safetensors")

    second = client.sessions.create("adamw", lr=0.01)
    assert second.load_state(tmp_path / "state.safetensors").step == 5
    assert second.digest == first.digest
    assert bits(train(second, params, range(6, 11))) == unbroken


def test_a_session_is_made_of_a_saved_state(client: Any, unbroken: dict[str, Any], tmp_path: Path) -> None:
    first = client.sessions.create("adamw", lr=0.01, labels={"run": "1"}, clip=None)
    params = train(first, some_params(), range(1, 6))
    first.save_state(tmp_path / "state.safetensors")
    second = client.sessions.create_from_state(tmp_path / "state.safetensors")
    assert (second.info.step, second.info.labels, second.digest) == (5, {"run": "1"}, first.digest)
    assert bits(train(second, params, range(6, 11))) == unbroken
    second.update(lr=0.5)  # its ETag is known


def test_a_file_without_a_digest_needs_the_option(client: Any, tmp_path: Path) -> None:
    session = {"format": 1, "optimizer": "sgd", "step": 3, "skipped_steps": 0, "tensors": {}}
    (tmp_path / "made").write_bytes(encode({}, {"session": json.dumps(session)}))
    other = client.sessions.create("sgd")
    with pytest.raises(InvalidState, match=r"digest=none"):
        other.load_state(tmp_path / "made")
    assert other.load_state(tmp_path / "made", digest="none").step == other.info.step == 3


def test_tensors_are_renamed_removed_and_reset(client: Any) -> None:
    session = client.sessions.create("adamw", lr=0.01, hold_params=True)
    w = np.float32([1, 2])
    session.put_params({"a": w, "b": 2 * w, "c": 3 * w})
    session.step(grads={"a": w, "b": w, "c": w})
    info = session.edit_tensors(rename={"a": "b", "b": "a"}, remove=["c"])
    assert list(info.tensors) == ["b", "a"]
    session.edit_tensors(reset=["a"])
    assert session.info.tensors["a"].step == 0
    assert list(session.step(grads={"a": w, "b": w})) == ["a", "b"]
    with pytest.raises(TensorMismatch, match="no such tensor") as raised:
        session.edit_tensors(remove=["x"])
    assert raised.value.tensor == "x"
    with pytest.raises(TypeError, match=r"\['a'\]"):
        session.edit_tensors(remove="a")
    assert session.get().step == 2


def test_a_state_of_another_optimizer_is_refused(client: Any, tmp_path: Path) -> None:
    adam = client.sessions.create("adam", lr=0.01)
    train(adam, some_params(), range(1, 2))
    adam.save_state(tmp_path / "state")
    with pytest.raises(InvalidState):
        client.sessions.create("rmsprop", lr=0.01).load_state(tmp_path / "state")


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


def test_a_skipped_step_returns_the_parameters_unnumbered(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.1, on_non_finite="skip")
    w = {"w": np.float32([1, 2])}
    assert bits(session.step(w, {"w": np.float32([np.inf, 0])})) == bits(w)
    assert session.skipped
    assert not np.isfinite(session.metrics.grad_norm)
    session.step(w, w)
    assert not session.skipped
    assert (session.get().step, session.info.skipped_steps) == (1, 1)
    assert [(row.step, row.skipped) for row in session.history()] == [(0, True), (1, False)]


def test_a_stale_client_goes_on_after_get(client: Any) -> None:
    w = {"w": np.float32([1, 2])}
    quick = client.sessions.create("sgd", lr=0.1)
    stale = client.sessions.get(quick.id)
    moved = quick.step(w, w)
    with pytest.raises(StepConflict, match=r"session.get\(\)") as raised:
        stale.step(w, {"w": np.float32([3, 4])})
    assert raised.value.current_step == 1
    assert stale.get().step == 1
    stale.step(moved, w)
    assert stale.info.step == 2


def test_changing_a_setting_does_not_hide_that_another_client_stepped(client: Any) -> None:
    w = {"w": np.float32([1, 2])}
    quick = client.sessions.create("sgd", lr=0.1)
    stale = client.sessions.get(quick.id)
    quick.step(w, w)
    with pytest.raises(PreconditionFailed):
        stale.update(lr=0.2)
    assert client.sessions.update(quick.id, lr=0.2).info.hyperparameters["lr"] == 0.2
    with pytest.raises(StepConflict):
        stale.step(w, {"w": np.float32([3, 4])})


class LosesAnswers(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Every request reaches the service; of those to `path`, each second answer is lost on the way back."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lost = 0
        self._lose = False
        self._sync = httpx2.HTTPTransport()
        self._async = httpx2.AsyncHTTPTransport()

    def _maybe_lose(self, request: httpx2.Request) -> None:
        self._lose = not self._lose and request.url.path.endswith(self.path)
        if self._lose:
            self.lost += 1
            raise httpx2.ReadError("lost", request=request)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._sync.handle_request(request)
        response.read()
        self._maybe_lose(request)
        return response

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._async.handle_async_request(request)
        await response.aread()
        self._maybe_lose(request)
        return response

    def close(self) -> None:
        self._sync.close()

    async def aclose(self) -> None:
        await self._async.aclose()


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_protocol, "FIRST_WAIT_SECONDS", 0.001)


@pytest.mark.usefixtures("_short_waits")
def test_steps_whose_answers_were_lost_happen_once(connect: Connect, server: Server, unbroken: dict[str, Any]) -> None:
    transport = LosesAnswers("/steps")
    session = connect(server.url, transport=transport).sessions.create("adamw", lr=0.01)
    params = train(session, some_params(), range(1, 11))
    assert transport.lost == 10
    assert bits(params) == unbroken
    assert session.info.step == session.get().step == 10


def test_a_repeated_step_after_no_answer_is_applied_once(connect: Connect, server: Server) -> None:
    client = connect(server.url, transport=LosesAnswers("/steps"), max_retries=0)
    session = client.sessions.create("sgd", lr=1.0)
    w = {"w": np.float32([1, 2]), "b": np.float32([3])}
    with pytest.raises(APIConnectionError):
        session.step(w, w, loss=0.5)
    params = session.step(dict(reversed(w.items())), w, loss=0.5)
    assert {name: array.tolist() for name, array in params.items()} == {"w": [0, 0], "b": [0]}
    assert session.info.step == session.get().step == 1


@pytest.mark.usefixtures("_short_waits")
def test_a_deletion_whose_answer_was_lost_is_done(connect: Connect, server: Server) -> None:
    plain = connect(server.url)
    session = plain.sessions.create("sgd", lr=1.0)
    transport = LosesAnswers(session.id)
    connect(server.url, transport=transport).sessions.delete(session.id)
    assert transport.lost == 1
    with pytest.raises(SessionNotFound):
        plain.sessions.get(session.id)


def test_a_restarted_server_is_not_noticed(connect: Connect, unbroken: dict[str, Any]) -> None:
    with Server() as mortal:
        client = connect(mortal.url)
        session = client.sessions.create("adamw", lr=0.01)
        params = train(session, some_params(), range(1, 6))
        mortal.kill()
        assert not client.ready()
        mortal.start()
        assert client.ready()
        assert bits(train(session, params, range(6, 11))) == unbroken


def test_each_memory_client_has_a_service_of_its_own(connect: Connect) -> None:
    session = connect("memory:").sessions.create("sgd", lr=0.1)
    with pytest.raises(SessionNotFound):
        connect("memory:").sessions.get(session.id)


def test_a_folder_keeps_its_sessions_between_clients(
    connect: Connect, unbroken: dict[str, Any], tmp_path: Path
) -> None:
    first = connect(f"lmdb:{tmp_path}")
    session = first.sessions.create("adamw", lr=0.01)
    params = train(session, some_params(), range(1, 6))
    first.close()
    again = connect(f"lmdb:{tmp_path}").sessions.get(session.id)
    assert bits(train(again, params, range(6, 11))) == unbroken


def test_an_unusable_folder_is_an_error_at_once(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Exception, match="file"):
        connect(f"lmdb:{tmp_path / 'file'}")


def ended(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)


def test_a_local_client_without_the_server_names_the_package() -> None:
    code = "import sys; sys.modules['app'] = None; import optim_client; optim_client.Client('memory:')"
    assert (
        "`pip install ./clients/python .` in a clone of its repository, or give the URL of a service"
        in ended(code).stderr
    )


def test_importing_the_client_imports_nothing_of_the_server() -> None:
    code = "import sys, optim_client; assert not {'app', 'optim_engine', 'fastapi', 'ml_dtypes.app'} & set(sys.modules)"
    assert ended(code).returncode == 0


def test_a_process_ends_although_its_local_client_was_not_closed() -> None:
    code = (
        "from optim_client import Client\n"
        "session = Client('memory:').sessions.create('sgd', lr=1.0)\n"
        "print(session.step({'w': [1.0]}, {'w': [1.0]}))"
    )
    result = ended(code)
    assert (result.returncode, result.stdout, result.stderr) == (0, "{'w': array([0.])}\n", "")


def test_the_loop_in_the_readme_finds_the_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    code = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(code.replace("http://127.0.0.1:8000", server.url), {})  # the README's own words
    step, *_, line = capsys.readouterr().out.splitlines()
    assert step.startswith("200 Metrics(lr=")
    found = eval(line)
    assert found["slope"] == pytest.approx(3, abs=0.1)
    assert found["bias"] == pytest.approx(1, abs=0.1)


def test_parameters_that_are_not_finite_come_as_they_are(client: Any) -> None:
    session = client.sessions.create("sgd", lr=1e30, hold_params=True)
    large = {"w": np.float32([1e30, -1e30, 0])}
    params = session.step(large, large)
    assert params["w"].tolist() == [-np.inf, np.inf, 0]
    assert bits(session.params()) == bits(params)
    assert (session.metrics.param_norm, session.metrics.update_norm) == (np.inf, np.inf)
    session.put_params({"w": np.float32([np.nan, -0.0, 1e-45])})
    assert bits(session.params()) == bits({"w": np.float32([np.nan, -0.0, 1e-45])})
