"""Attacks, each as the bytes to send and the answer to expect; and functions that make them.

`{s}` in an attack is the path of a session that took one step of `grads/w`, float32 [2].
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

JSON, SAFETENSORS = "application/json", "application/vnd.safetensors"
DEEP = 100_000
MANY = 100_000
STEPS, SESSIONS = "{s}/steps", "/v1/sessions"


class Attack(NamedTuple):
    sent: bytes
    status: int
    code: str | None
    """The problem's code; `None` for harmless requests, which are answered."""


def request(method: str, path: str, body: bytes = b"", fields: Mapping[str, str | bytes] | None = None) -> bytes:
    """Return a request; it has a Content-Length unless the fields set the body's framing."""
    known: dict[str, str | bytes] = {"host": "localhost", "connection": "close"}
    if body and not {"content-length", "transfer-encoding"} & (fields or {}).keys():
        known["content-length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1".encode()]
    lines += [
        b"%s: %s" % (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in (known | dict(fields or {})).items()
    ]
    return b"\r\n".join([*lines, b"", body])


def text(body: str | bytes, path: str = STEPS, method: str = "POST", **fields: str) -> bytes:
    """Return a request with a JSON body."""
    raw = body.encode() if isinstance(body, str) else body
    return request(method, path, raw, {"content-type": JSON} | {k.replace("_", "-"): v for k, v in fields.items()})


def binary(header: object, data: bytes = b"", *, claims: int | None = None, path: str = STEPS) -> bytes:
    """Return a request with a safetensors body; `claims` is a false length of its header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = (len(raw) if claims is None else claims).to_bytes(8, "little")
    method = "PUT" if path.endswith("state") else "POST"
    return request(method, path, length + raw + data, {"content-type": SAFETENSORS})


def tensor(start: object, end: object, shape: object = (2,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def a_step(params: str = '{"w": [1, 2]}', grads: str = '{"w": [1, 2]}', more: str = "") -> str:
    return f'{{"params": {params}, "grads": {grads}{more}}}'


EIGHT = bytes(8)
W = {"grads/w": tensor(0, 8), "params/w": tensor(8, 16)}


def malformed(sent: bytes) -> Attack:
    return Attack(sent, 400, "malformed_body")


def bad_head(sent: bytes) -> Attack:
    return Attack(sent, 400, "malformed_header")
