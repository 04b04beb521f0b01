"""The prover of the Python client: `clients/README.md` says what it is told and what it prints."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optim_client import APIStatusError, Client, OptimError, _calls
from optim_client._http import DEFAULT_TIMEOUT
from optim_client._protocol import Call, Patience, Request, perform
from optim_client._tensors import CODE_OF, Arrays, decode, encode
from optim_client._transports import open_transport

KINDS = ("params", "grads", "rows", "at", "scale")
POINTS = np.array([[1, 2], [3, 1], [2, 4], [4, 3]])
TARGETS = np.array([7, 7, 15, 16])


def golden(files: Sequence[str]) -> None:
    """Encode each request again, and print each answer."""
    for i in range(0, len(files), 3):
        request, response, out = map(Path, files[i : i + 3])
        tensors, metadata = _read(request.read_bytes())
        out.write_bytes(b"".join(encode({}, metadata, tensors)))
        tensors, metadata = _read(response.read_bytes())
        named = {f"{kind}/{name}": _shown(x) for kind, arrays in tensors.items() for name, x in arrays.items()}
        _say(metadata=metadata, tensors=named)


def _read(body: bytes) -> tuple[dict[str, Arrays], dict[str, str]]:
    """Return a message's tensors by kind and name, and its metadata."""
    return {kind: decode(body, kind)[0] for kind in KINDS}, decode(body, KINDS[0])[1]


def _shown(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"dtype": CODE_OF[array.dtype], "shape": array.shape, "hex": array.tobytes().hex()}


def calls(lines: Iterator[str]) -> None:
    """Make the call of each line, by the clock that the lines after it say."""
    for line in lines:
        url, method, path, seconds, retries, chance = line.split()
        patience = Patience(float(seconds), float(retries))
        try:
            _say(end="result", status=_status(url, method, path, patience, float(chance), lines))
        except APIStatusError as error:
            members = {"code": error.code, "detail": error.detail, "members": dict(error.fields)}
            _say(end="error", status=error.status, **members, request_id=error.request_id)
        except OptimError as error:
            _say(end="error", status=None, code=None, detail=str(error), members={}, request_id=None)


def _status(url: str, method: str, path: str, patience: Patience, chance: float, lines: Iterator[str]) -> int:
    """Return the status of the answer that a call ends with."""
    headers = _calls.writes(_calls.JSON)
    request = Request(method, path, headers=headers, body=b"{}" if method == "POST" else b"")
    now = 0.0
    conversation = perform(Call(request, lambda answer: answer.status), patience, lambda: now, lambda: chance)
    transport = open_transport(url, {}, None)
    next(conversation)
    try:
        while True:
            wait = conversation.send(transport.exchange(request, DEFAULT_TIMEOUT))
            _say(wait=wait)
            now = float(next(lines))
    except StopIteration as end:
        return int(end.value)
    finally:
        transport.close()


def train(url: str) -> None:
    """Train the least squares of the contract, and print the final parameters."""
    params = {"w": np.zeros(2, np.float32), "b": np.zeros(1, np.float32)}
    schedule = {"kind": "cosine", "total_steps": 60}
    with Client(url) as client:
        session = client.sessions.create("adamw", lr=0.5, betas=[0.7, 0.9], weight_decay=0, schedule=schedule)
        for _ in range(60):
            errors = POINTS @ params["w"].astype(float) + params["b"].astype(float) - TARGETS
            grads = {"w": (errors @ POINTS / 4).astype("f4"), "b": errors.sum(keepdims=True).astype("f4") / 4}
            params = session.step(params, grads)
    _say(params={name: array.tolist() for name, array in params.items()})


def _say(**members: Any) -> None:
    print(json.dumps(members), flush=True)


match sys.argv[1:]:
    case ["golden", *files]:
        golden(files)
    case ["call"]:
        calls(iter(sys.stdin.readline, ""))
    case ["train", url]:
        train(url)
    case _:
        sys.exit("usage: prove.py golden REQUEST RESPONSE OUT … | call | train URL")
