"""Servers that act as different processors, over one Redis: a step that one has taken, another replays.

A quick run has the server as it is, with the fused kernel, and the processor that lacks most, without it.
"""

import json
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from app.compute import FUSED_FROM
from tests.amounts import WHOLE, times
from tests.bodies import encode
from tests.durability.processes import ServerProcess
from tests.engine.cases import DTYPES
from tests.processors.bits import numbers
from tests.processors.environments import ENVIRONMENTS, environment
from tests.servers import RedisServer
from tests.service.calls import SAFETENSORS

SHAPES: Mapping[str, tuple[int, ...]] = {"layer.weight": (61, 83), "layer.bias": (83,), "gain": (), "tiny": (17,)}
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "adamw": {"betas": [0.9, 0.95]},
    "adam": {"amsgrad": True, "weight_decay": 0.1},
    "sgd": {"momentum": 0.9, "nesterov": True},
    "rmsprop": {"centered": True, "momentum": 0.9},
    "nadam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
    "adafactor": {"beta2_decay": -0.7},
}
"""Some of the optimizers whose bits are the same on every processor; `bits.py` has all of them."""
CLIPS: tuple[Mapping[str, Any] | None, ...] = ({"global_norm": 0.7}, None)
FORMS = ("safetensors", "list", "data", "base64")
SCHEDULES: tuple[Mapping[str, Any], ...] = (
    {"kind": "cosine", "total_steps": 53},
    {"kind": "polynomial", "total_steps": 47, "power": 0.9},
    {"kind": "exponential", "gamma": 0.9997},
    {"kind": "inverse_sqrt", "warmup_steps": 3},
)
STEPS = 7
"""The steps of each session: more than 1,000 in all of a whole run."""

pytestmark = pytest.mark.campaign


def cases() -> list[tuple[str, Mapping[str, Any] | None, str, str]]:
    """Return each optimizer, clip, dtype and wire form; a plain list in JSON is always float32."""
    every = product(OPTIMIZERS, CLIPS, DTYPES, FORMS)
    return [case for case in every if case[3] != "list" or case[2] == "float32"]


def arrays(seed: int, dtype: str) -> dict[str, np.ndarray[Any, Any]]:
    return {name: numbers(seed + i, shape, DTYPES[dtype]) for i, (name, shape) in enumerate(SHAPES.items())}


def written(array: np.ndarray[Any, Any], form: str) -> Any:
    """Return a tensor in that form of JSON."""
    wide = array.astype(np.float64)
    if form == "list":
        return wide.tolist()
    about = {"dtype": array.dtype.name, "shape": array.shape}
    if form == "data":
        return {**about, "data": wide.reshape(-1).tolist()}
    return {**about, "base64": b64encode(array.tobytes()).decode()}


def body(number: int, dtype: str, form: str) -> tuple[bytes, str]:
    """Return a step's bytes and media type."""
    params, grads = arrays(0, dtype), arrays(100 * number, dtype)
    if form == "safetensors":
        return encode({"params": params, "grads": grads}, {"step": str(number)}), SAFETENSORS
    tensors = {
        kind: {name: written(array, form) for name, array in named.items()}
        for kind, named in (("params", params), ("grads", grads))
    }
    return json.dumps({"step": number, **tensors}).encode(), "application/json"


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, without_numba: str
) -> Iterator[list[httpx2.Client]]:
    """Start a server as it is and one for each other processor, and yield their clients."""
    folder, path = tmp_path_factory.mktemp("fleet"), without_numba
    as_it_is = {**os.environ, "PYTHONPATH": path}
    lacking = {name: environment(name, PYTHONPATH=path) for name in ENVIRONMENTS}
    others = lacking if WHOLE else {"baseline": environment("baseline")}
    started = []
    for name, variables in {"as-it-is": as_it_is, **others}.items():
        started.append(ServerProcess(redis_server.url, folder / f"{name}.log", environment=variables))
    try:
        for server in started:
            server.launch()
        for server in started:
            server.wait_until_ready()
        clients = [httpx2.Client(base_url=server.url, timeout=60) for server in started]
        for client, server in list(zip(clients, started, strict=True))[: times(quick=1, whole=len(started))]:
            load_kernel(client, server)
        yield clients
        for client in clients:
            client.close()
    finally:
        for server in started:
            server.kill()


def load_kernel(client: httpx2.Client, server: ServerProcess) -> None:
    """Take a large step, which makes the server load the fused kernel."""
    large = {"w": np.ones(FUSED_FROM // 4, np.float32)}
    session, headers = created(client, {"optimizer": "adamw"}), {"content-type": SAFETENSORS}
    client.post(f"{session}/steps", content=encode({"params": large, "grads": large}, {}), headers=headers)
    server.rest()
    if Path("/proc/self/maps").exists():
        assert "llvmlite" in Path(f"/proc/{server.pid}/maps").read_text()
    client.delete(session)


@pytest.mark.long
def test_a_fleet_of_processors_replays_each_step_alike(fleet: list[httpx2.Client]) -> None:
    """Each step is taken by another server than the one before, and answered again by the next."""
    taken = 0
    for n, (optimizer, clip, dtype, form) in enumerate(cases()[:: times(quick=7, whole=1)]):
        settings = {
            "optimizer": optimizer,
            "hyperparameters": OPTIMIZERS[optimizer],
            "clip": clip,
            "schedule": SCHEDULES[n % len(SCHEDULES)],
        }
        session = created(fleet[0], settings)
        for number in range(1, STEPS + 1):
            take_and_replay(fleet, session, number, *body(number, dtype, form))
            taken += 1
    assert taken >= times(quick=150, whole=1000)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_fleet_of_processors_answers_muon_as_saved(fleet: list[httpx2.Client], dtype: str) -> None:
    """Its bits depend on the processor, so the session holds the parameters, and a replay answers those."""
    session = created(fleet[0], {"optimizer": "muon", "hold_params": True})
    for number in range(1, STEPS + 1):
        tensors = {"grads": {"w": arrays(100 * number, dtype)["layer.weight"]}}
        if number == 1:
            tensors["params"] = {"w": arrays(0, dtype)["layer.weight"]}
        take_and_replay(fleet, session, number, encode(tensors, {"step": str(number)}), SAFETENSORS)


def created(server: httpx2.Client, settings: Mapping[str, Any]) -> str:
    """Return the path of a new session."""
    path = server.post("/v1/sessions", json=settings).headers["location"]
    return f"/v1/sessions/{path.rpartition('/')[2]}"


def take_and_replay(fleet: list[httpx2.Client], session: str, number: int, content: bytes, media_type: str) -> None:
    """Send a step to one server, then to the next: the same answer, the second time as a replay."""
    answer, again = (
        server.post(f"{session}/steps", content=content, headers={"content-type": media_type})
        for server in (fleet[number % len(fleet)], fleet[(number + 1) % len(fleet)])
    )
    assert answer.status_code == again.status_code == 200, answer.text
    assert ("idempotent-replayed" in answer.headers, "idempotent-replayed" in again.headers) == (False, True)
    assert answer.content == again.content, (session, number)


@pytest.mark.long
def test_servers_on_other_processors_step_alike(fleet: list[httpx2.Client]) -> None:
    """Each takes some of the runs alone: the same answers, digests and metrics among them."""
    for n, (optimizer, clip, dtype, form) in enumerate(cases()[:: times(quick=11, whole=3)]):
        settings = {
            "optimizer": optimizer,
            "hyperparameters": OPTIMIZERS[optimizer],
            "clip": clip,
            "schedule": SCHEDULES[n % len(SCHEDULES)],
        }
        runs = [_run(server, settings, dtype, form) for server in fleet]
        assert all(run == runs[0] for run in runs), (settings, dtype, form)


def _run(server: httpx2.Client, settings: dict[str, Any], dtype: str, form: str) -> list[bytes]:
    session = created(server, settings)
    answers = []
    for number in range(1, 4):
        content, media_type = body(number, dtype, form)
        answer = server.post(f"{session}/steps", content=content, headers={"content-type": media_type})
        assert answer.status_code == 200, answer.text
        answers.append(answer.content)
    return answers
