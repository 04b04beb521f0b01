"""Requests at the limits of a service: the most tensors, patterns, rows and bytes that it allows."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from optim_client._protocol import Request

from tests.durability.wire import JSON, Wire

MANY = 10_000
"""The most tensors that a session may have, and rows that an answer may."""
PATTERNS = 256
JSON_BYTES = 16 << 20
BINARY = {"content-type": "application/vnd.safetensors"}
AS_JSON = {"accept": "application/json"}
DENSE = ["0,", "0.5,", "[],", "[0],", "[[0]],", "{},", '"",', '{"":0},']
"""The units of a JSON body that cost the most to parse."""
BLIND = "*" + "[ab]" * 240 + "c*"
"""A pattern that a backtracking matcher tries at each place of a name."""


class Heavy(NamedTuple):
    """A request with its name and the statuses that it may have."""

    name: str
    request: Request
    statuses: tuple[int, ...] = (200,)


def file_of(shapes: Mapping[str, tuple[int, ...]], value: float = 0.0) -> bytes:
    """Return a safetensors body of float32 tensors that are filled with one value."""
    parts, end, header = list[bytes](), 0, list[str]()
    for name, shape in shapes.items():
        size = 1
        for side in shape:
            size *= side
        start, end = end, end + 4 * size
        header.append(f'"{name}":{{"dtype":"F32","shape":{list(shape)},"data_offsets":[{start},{end}]}}')
        parts.append(struct.pack("<f", value) * size)
    text = f"{{{','.join(header)}}}".encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def step_of(names: list[str], shape: tuple[int, ...] = ()) -> bytes:
    """Return a step with a parameter and a gradient of those names."""
    return file_of({f"{role}/{name}": shape for role in ("params", "grads") for name in names}, 0.5)


def json_body(unit: str, nbytes: int) -> bytes:
    """Return a step whose gradient consists of as many units as fit."""
    start, end = b'{"grads":{"w":[', b']},"params":{}}'
    count = (nbytes - len(start) - len(end)) // len(unit)
    return start + (unit.encode() * count)[:-1] + end


def names_of(count: int) -> list[str]:
    return ["a" * 240 + f".{i}" for i in range(count)]


def wide_requests(session: str, names: list[str], patterns: int) -> Iterator[Heavy]:
    """Yield all requests for a session with the most tensors and patterns that it may have."""
    step = step_of(names, (0,))
    groups = "[" + ",".join(f'{{"match":["{BLIND}{i}"],"lr":0.1}}' for i in range(patterns)) + "]"
    settings = f'{{"groups":{groups}}}'.encode()
    stepped = Request("POST", f"{session}/steps", headers=BINARY, body=step)
    yield Heavy("first step of many tensors", stepped)
    yield Heavy("step of many tensors", stepped)
    yield Heavy("step in another order", replace(stepped, body=step_of(names[::-1], (0,))))
    yield Heavy("PATCH of many patterns", Request("PATCH", session, headers=JSON, body=settings))
    yield Heavy("step under many patterns", stepped)
    yield Heavy("step as JSON", replace(stepped, headers=BINARY | AS_JSON))
    yield Heavy("read a session of many tensors", Request("GET", session))
    yield Heavy("download a state of many tensors", Request("GET", f"{session}/state"))
    yield Heavy("list of it", Request("GET", "/v1/sessions?limit=100"))


def json_requests(session: str, nbytes: int) -> Iterator[Heavy]:
    """Yield steps of the longest JSON allowed."""
    for unit in DENSE:
        body = json_body(unit, nbytes)
        yield Heavy(f"JSON of {unit}", Request("POST", f"{session}/steps", headers=JSON, body=body), (400, 422))


def list_of(wire: Wire, sessions: int, tensors: int) -> Heavy:
    """Create sessions with that many tensors each; return the request that lists them."""
    body = step_of([f"layer.{i}.weight" for i in range(tensors)], (1,))
    for _ in range(sessions):
        session = f"/v1/sessions/{wire.ask('POST', '/v1/sessions', {'optimizer': 'adam'}, 201)['id']}"
        assert wire.send(Request("POST", f"{session}/steps", headers=BINARY, body=body)).status == 200
    return Heavy("list of many sessions", Request("GET", "/v1/sessions?limit=100"))
