"""The golden rounds: every call of two workers and its answer. `python -m tests.golden.rounds` writes them.

They are in `clients/contract/rounds`: <run>/session.json creates the session, and <run>/calls.json has the calls in
order. A body is a document in it, or a file of safetensors beside it, and so is an answer. What depends on the time is
left out, and so are the words of a refusal.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from tests.bodies import encode
from tests.contract import FOLDER
from tests.service.calls import SAFETENSORS, path_of, serving

ROUNDS = FOLDER / "rounds"
LEFT_OUT = {"type", "title", "detail", "lease_expires_at", "last_contribution_at", "lateness_seconds"}
WAIT = {"Prefer": "wait=25"}
JSON = "application/json"


@dataclass(frozen=True)
class Asked:
    """A call below the path of the session. A body of bytes is safetensors."""

    method: str
    path: str
    body: Mapping[str, Any] | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _join(worker: str) -> Asked:
    return Asked("PUT", f"workers/{worker}", {})


def _push(worker: str, number: int, epoch: int, weight: float, w: list[float], **headers: str) -> Asked:
    body = {"epoch": epoch, "weight": weight, "grads": {"w": w}}
    return Asked("PUT", f"rounds/{number}/contributions/{worker}", body, headers)


def _binary(worker: str, epoch: int, weight: float, scale: float, **headers: str) -> Asked:
    grads = {"layer/0/weight": np.array([[0.5, -0.25], [2, 0]], np.float32) * np.float32(scale)}
    grads |= {"größe": np.array(scale, np.float32)}
    body = encode({"grads": grads}, {"epoch": str(epoch), "weight": repr(weight)})
    return Asked("PUT", f"rounds/1/contributions/{worker}", body, headers)


_FIRST = _push("gpu-1", 1, 1, 512.0, [0.5, -0.5])
_HELD = {"layer/0/weight": np.array([[1, 2], [3, 4]], np.float32), "größe": np.array(0.5, np.float32)}
_TWO = {"hold_params": True, "workers": {"expected": 2, "quorum": 2}}

RUNS: Mapping[str, tuple[dict[str, Any], tuple[Asked, ...]]] = {
    "json": (
        {"optimizer": "sgd", "hyperparameters": {"lr": 0.1}, **_TWO},
        (
            Asked("PUT", "params", {"params": {"w": [1, 2]}}),
            _join("gpu-1"),
            _join("gpu-2"),
            _FIRST,
            _FIRST,
            _push("gpu-1", 1, 1, 512.0, [0.5, 0.5]),
            _push("gpu-1", 3, 1, 512.0, [0.5, -0.5]),
            Asked("POST", "rounds/1/close"),
            _push("gpu-2", 1, 2, 256.0, [0.2, 0.4], **WAIT),
            _FIRST,
            Asked("GET", "rounds/1"),
            _join("gpu-1"),
            _push("gpu-1", 2, 1, 512.0, [0.1, 0.1]),
            _join("gpu-3"),
            _push("gpu-3", 1, 4, 512.0, [0.1, 0.1]),
            Asked("GET", "rounds/1"),
            Asked("GET", "workers"),
            Asked("DELETE", "workers/gpu-3"),
        ),
    ),
    "safetensors": (
        {"optimizer": "adamw", **_TWO},
        (
            Asked("PUT", "params", encode({"params": _HELD}, {})),
            _join("gpu-1"),
            _join("gpu-2"),
            _binary("gpu-1", 1, 3.0, 1.0),
            _binary("gpu-2", 2, 1.0, -0.5, **WAIT),
            _binary("gpu-1", 1, 3.0, 1.0),
        ),
    ),
    "async": (
        {"optimizer": "sgd", "hyperparameters": {"lr": 0.5}, "hold_params": True,
         "workers": {"mode": "async", "max_staleness": 1, "staleness": "scale"}},
        (
            Asked("PUT", "params", {"params": {"w": [1, 2]}}),
            _join("gpu-1"),
            _join("phone"),
            Asked("PUT", "contributions/gpu-1/1", {"epoch": 1, "base_step": 0, "grads": {"w": [0.5, -0.5]}}),
            Asked("PUT", "contributions/phone/1", {"epoch": 2, "base_step": 0, "grads": {"w": [0.25, 0.5]}}),
            Asked("PUT", "contributions/gpu-1/1", {"epoch": 1, "base_step": 0, "grads": {"w": [0.5, -0.5]}}),
            Asked("PUT", "contributions/gpu-1/2", {"epoch": 1, "base_step": 0, "grads": {"w": [0.5, -0.5]}}),
            Asked("PUT", "contributions/gpu-1/2", {"epoch": 1, "base_step": 2, "grads": {"w": [0.5, -0.5]}}),
            Asked("PUT", "contributions/gpu-1/1", {"epoch": 1, "base_step": 0, "grads": {"w": [0.5, -0.5]}}),
            Asked("GET", "rounds/1"),
        ),
    ),
}  # fmt: skip
"""The settings and the calls of each run."""


def write(folder: Path) -> None:
    """Write the files of every run into the folder."""
    for name, (settings, asked) in RUNS.items():
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "session.json").write_text(_text(settings))
        with serving() as client:
            session = path_of(client.post("/v1/sessions", json=settings))
            (place / "calls.json").write_text(_text(list(_calls(place, client, session, asked))))


def _calls(place: Path, client: httpx2.Client, session: str, asked: tuple[Asked, ...]) -> Iterator[dict[str, Any]]:
    for n, call in enumerate(asked, 1):
        answer = sent(client, session, call)
        told: dict[str, Any] = {"method": call.method, "path": call.path}
        if call.headers:
            told["headers"] = dict(call.headers)
        if isinstance(call.body, bytes):
            told["request"] = f"{n}.request.bin"
            (place / told["request"]).write_bytes(call.body)
        elif call.body is not None:
            told["body"] = call.body
        told["status"] = answer.status_code
        if answer.headers.get("content-type") == SAFETENSORS:
            told["response"] = f"{n}.response.bin"
            (place / told["response"]).write_bytes(answer.content)
        elif answer.content:
            told["answer"] = timeless(answer.json())
        yield told


def sent(client: httpx2.Client, session: str, call: Asked) -> httpx2.Response:
    """Send a call; return its answer."""
    content = (
        call.body if isinstance(call.body, bytes) else None if call.body is None else json.dumps(call.body).encode()
    )
    form = {} if content is None else {"content-type": SAFETENSORS if isinstance(call.body, bytes) else JSON}
    return client.request(call.method, f"{session}/{call.path}", content=content, headers={**form, **call.headers})


def timeless(answer: Any) -> Any:
    """Return an answer without what depends on the time, and without the words of a refusal."""
    if isinstance(answer, list):
        return [timeless(each) for each in answer]
    if isinstance(answer, dict):
        return {name: timeless(value) for name, value in answer.items() if name not in LEFT_OUT}
    return answer


def _text(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write(ROUNDS)
