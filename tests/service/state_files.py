"""Helpers for state files: sessions to save, and files to read, change and upload."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import ml_dtypes
import numpy as np
from httpx2 import Client

from tests.service.calls import SAFETENSORS, binary_step, read_binary

BINARY = {"content-type": SAFETENSORS}
SETTINGS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("adamw", {}, {"m", "v"}),
    ("adamw", {"hyperparameters": {"amsgrad": True}}, {"m", "v", "v_max"}),
    ("adam", {"hold_params": True}, {"m", "v", "params"}),
    ("sgd", {}, set()),
    ("sgd", {"hyperparameters": {"momentum": 0.9}, "hold_params": True}, {"m", "params"}),
    ("rmsprop", {}, {"v"}),
    ("rmsprop", {"hyperparameters": {"centered": True, "momentum": 0.9}}, {"m", "v", "b"}),
    ("nadam", {}, {"m", "v", "mu_product"}),
    ("lion", {}, {"m", "update"}),
    ("lion", {"hold_params": True}, {"m", "params"}),
    ("asgd", {}, {"ax"}),
    ("adan", {}, {"m", "v", "g_last", "n"}),
    ("adafactor", {"hold_params": True}, {"v", "v_row", "v_col", "params"}),
    ("schedule_free_adamw", {"hold_params": True}, {"v", "z", "weight_sum", "lr_max", "params"}),
    ("prodigy", {}, {"m", "v", "s", "p0", "d", "d_last", "d_max", "d_numerator"}),
]


def some_params() -> dict[str, Any]:
    draw = np.random.default_rng(0).standard_normal
    return {
        "w": draw((3, 2), np.float32),
        "layer/bias": draw(3, np.float32),
        "double": draw(2),
        "brain": draw(3).astype(ml_dtypes.bfloat16),
        "none": np.zeros((0, 2), np.float16),
    }


def train(client: Client, session: str, params: Mapping[str, Any] | None, steps: range, hold: bool) -> dict[str, Any]:
    """The parameters after those steps; the first tensor is left out of every second one."""
    after: dict[str, Any] = dict(params or {})
    for number in steps:
        draw = np.random.default_rng(number).standard_normal
        names = [name for name in some_params() if number % 2 or name != "w"]
        grads = {name: np.asarray(draw(some_params()[name].shape)).astype(some_params()[name].dtype) for name in names}
        sent = None if hold and number > 1 else {name: after[name] for name in names}
        after |= read_binary(binary_step(client, session, grads, sent, step=number))[0]
    return after


def download(client: Client, session: str) -> bytes:
    answer = client.get(f"{session}/state")
    assert (answer.status_code, answer.headers["content-type"]) == (200, SAFETENSORS)
    return answer.content


def upload(client: Client, session: str, file: bytes) -> Any:
    return client.put(f"{session}/state", content=file, headers=BINARY)


def session_of(file: bytes) -> dict[str, Any]:
    header = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    document: dict[str, Any] = json.loads(header["__metadata__"]["session"])
    return document


def rewritten(file: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with its session's document changed."""
    size = int.from_bytes(file[:8], "little")
    header, document = json.loads(file[8 : 8 + size]), session_of(file)
    change(document)
    text = json.dumps(header | {"__metadata__": {"session": json.dumps(document)}}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + size :]


def made_of(client: Client, file: bytes, query: str = "", headers: Mapping[str, str] = BINARY) -> httpx2.Response:
    return client.post(f"/v1/sessions{query}", content=file, headers=headers)
