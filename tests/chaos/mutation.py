"""Random mutations of valid bodies. Knows no service and no HTTP.

A mutation knows the format: it replaces a value in a JSON tree, falsifies a length, moves a tensor's bytes. So most
bodies pass the parser and reach the checks behind it.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from optim_client import Int8, Rows, TopK
from optim_client._gradients import parts_of
from optim_client._tensors import ArraysLike

from tests.bodies import encode

JSON, SAFETENSORS = "application/json", "application/vnd.safetensors"


class Request(NamedTuple):
    """A request. In its `path`, `{plain}` and `{held}` are sessions without and with held parameters."""

    method: str
    path: str
    media_type: str
    body: bytes


HOSTILE: Sequence[bytes] = (
    b"-0", b"-0.0", b"5e-324", b"1e-46", b"3.5e38", b"1e308", b"0", b"-1", b"1", b"2", b"1.5",
    b"null", b"true", b"false", b"9007199254740993", b"18446744073709551616", b"9" * 400,
    b"[]", b"{}", b"[[]]", b"[null]", b"[1, true]", b"[[1], [2, 3]]", b"[" * 40 + b"]" * 40, b"[" * 900 + b"]" * 900,
    b'""', b'"1"', b'"NaN"', b'"Infinity"', b'"\\u0000"', b'"a\\r\\nx-evil: 1"', '"\u202e\u0661"'.encode(), b'"{}%s%n"',
    b'"' + b"x" * 5000 + b'"', b'"../../etc/passwd"', b'"*"', b'"[["', b'"' + b"*" * 200 + b'"', b'"skip"', b'"sgd"',
    b'{"dtype": "float32", "shape": [0, 1000000000000000000], "data": []}',
    b'{"dtype": "float32", "shape": [4294967296, 4294967296], "base64": ""}',
    b'{"dtype": "bfloat16", "shape": [1], "base64": "gH8="}', b'{"dtype": "float64", "shape": [], "data": [1]}',
    b"[0, 1000000000000000000]", b"[-1, -1]", b"[18446744073709551617]",
)  # fmt: skip
"""Values as JSON text."""
NO_JSON: Sequence[bytes] = (
    b"1e999", b"-1e999", b"NaN", b"-Infinity", b"0x10", b"1_000", b"01", b"+1", b".5", "\u0661".encode(),
    b"\xff", b"\0", b'"\\ud800"', b"'1'", b"[" * 2000 + b"]" * 2000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b"//", b",,",
)  # fmt: skip
"""Text that a lax parser takes for a value."""
LENGTHS: Sequence[int] = (0, 1, 2, 7, 255, 1 << 16, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
LISTS = {"w": [[0.5, -1.5], [2, 1e-3]], "bias": [0.25]}
"""The tensors of the session that holds parameters."""
MARK = "\x01here\x01"


def corpus(state: bytes) -> list[Request]:
    """Return a valid request of each kind. `state` is a state file of a session that holds `LISTS`."""
    create = {
        "optimizer": "adamw", "hyperparameters": {"lr": 0.01, "betas": [0.9, 0.99], "amsgrad": True, "eps": 1e-8},
        "groups": [{"match": ["*bias", "w[0-9]"], "weight_decay": 0.0}], "clip": {"global_norm": 1.0},
        "schedule": {"kind": "warmup_cosine", "warmup_steps": 2, "total_steps": 9, "min_factor": 0.1},
        "on_non_finite": "skip", "hold_params": True, "wire_dtype": "bfloat16", "ttl_seconds": 60, "labels": {"a": "b"},
    }  # fmt: skip
    patch = {"hyperparameters": {"lr": 0.1}, "schedule": {"kind": "step", "step_size": 2, "gamma": 0.5}, "labels": {}}
    first, *others = LISTS
    edits = {"rename": {first: f"{first}.new"}, "remove": others[:1], "reset": others[1:]}
    data = {
        "wide": {"dtype": "float64", "shape": [2, 1], "data": [1.5, 2]},
        "none": {"dtype": "float16", "shape": [0, 3], "data": []},
    }
    base64 = {"brain": {"dtype": "bfloat16", "shape": [2], "base64": "gD8AQA=="}}
    steps = [{"params": tensors, "grads": tensors, "lr": 0.1, "loss": 0.5} for tensors in (LISTS, data, base64)]
    arrays: ArraysLike = {name: np.float32(tensor) for name, tensor in LISTS.items()}
    binary = encode({"params": arrays, "grads": arrays}, {"loss": "0.5", "lr": "0.1"})
    compressed = parts_of({"w": TopK([0, 3], np.float32([0.5, -1])), "bias": Int8(np.int8([-7]), [0.5])})
    rows = parts_of({"w": Rows([1], np.float32([[0.5, -1]])), "bias": arrays["bias"]})
    rows_json = {"grads": {"w": {"rows": [1], "data": [[0.5, -1]]}, "bias": LISTS["bias"]}}
    return [
        Request("POST", "/v1/sessions", JSON, json.dumps(create).encode()),
        Request("PATCH", "{held}", JSON, json.dumps(patch).encode()),
        *(Request("POST", "{plain}/steps", JSON, json.dumps(step).encode()) for step in steps),
        Request("POST", "{plain}/steps", SAFETENSORS, binary),
        Request("POST", "{held}/steps", SAFETENSORS, encode({"grads": arrays}, {"loss": "0.5"})),
        *(Request("POST", "{held}/steps", SAFETENSORS, encode({"grads": g}, {}, o)) for g, o in (compressed, rows)),
        Request("POST", "{held}/steps", JSON, json.dumps(rows_json).encode()),
        Request("POST", "{held}/preview", SAFETENSORS, encode({"grads": arrays}, {"step": "2", "lr": "0.1"})),
        Request("POST", "{held}/preview", JSON, json.dumps(rows_json | {"grad_scale": 2.0}).encode()),
        Request("POST", "{held}/undo", JSON, json.dumps({"step": 2}).encode()),
        Request("POST", "{held}/fork", JSON, json.dumps({"labels": {"a": "b"}, "ttl_seconds": 60}).encode()),
        Request("PUT", "{held}/params", JSON, json.dumps({"params": LISTS}).encode()),
        Request("PUT", "{held}/params", SAFETENSORS, encode({"params": arrays}, {})),
        Request("PUT", "{held}/state", SAFETENSORS, state),
        Request("POST", "/v1/sessions", SAFETENSORS, state),
        Request("PATCH", "{held}/tensors", JSON, json.dumps(edits).encode()),
    ]


def mutated(request: Request, others: Sequence[Request], chance: random.Random) -> Request:
    """Return the request with one to three mutations in its body."""
    kinds = BY_MEDIA_TYPE[request.media_type]
    body = request.body
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        body = chance.choice(kinds)(body, chance.choice(others).body, chance)
    return request._replace(body=body)


Change: TypeAlias = Callable[[bytes, bytes, random.Random], bytes]
"""A mutation: from a body, another body and a random generator to the mutated body."""


def _flipped(body: bytes, _: bytes, chance: random.Random) -> bytes:
    changed = bytearray(body or b"\0")
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(body: bytes, _: bytes, chance: random.Random) -> bytes:
    return body[: chance.randrange(len(body) + 1)]


def _without_a_slice(body: bytes, _: bytes, chance: random.Random) -> bytes:
    start, end = _slice(body, chance)
    return body[:start] + body[end:]


def _with_a_slice_twice(body: bytes, _: bytes, chance: random.Random) -> bytes:
    start, end = _slice(body, chance)
    return body[:end] + body[start:end] * chance.choice((1, 1, 50)) + body[end:]


def _spliced(body: bytes, other: bytes, chance: random.Random) -> bytes:
    start, end = _slice(other, chance)
    at = chance.randrange(len(body) + 1)
    return body[:at] + other[start:end] + body[at:]


def _with_a_token(body: bytes, _: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(body) + 1)
    return body[:at] + _value(chance) + body[at:]


def _value(chance: random.Random) -> bytes:
    return chance.choice(HOSTILE if chance.random() < 0.9 else NO_JSON)


def _slice(body: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(body) + 1)
    return start, min(len(body), start + chance.choice((1, 4, 16, 64)))


def _json_changed(body: bytes, _: bytes, chance: random.Random) -> bytes:
    """Replace, remove or double a value or a member of the JSON tree."""
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return body
    places = list(_places(tree)) if isinstance(tree, dict | list) else []
    if not places:
        return _value(chance)
    parent, key = chance.choice(places)
    what = chance.randrange(4)
    if what == 0:
        del parent[key]
    elif what == 1 and isinstance(parent, dict):
        parent[MARK] = parent.pop(key)
    elif what == 2 and isinstance(parent, dict):
        return _dumped(parent | {MARK: parent[key]}, tree, parent, json.dumps(key).encode())
    else:
        parent[key] = MARK
    return json.dumps(tree).encode().replace(json.dumps(MARK).encode(), _value(chance))


def _dumped(changed: dict[str, Any], tree: Any, parent: dict[str, Any], name: bytes) -> bytes:
    """Return the tree as JSON, with a name twice in one of its objects."""
    parent.update(changed)
    return json.dumps(tree).encode().replace(json.dumps(MARK).encode(), name)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a tree: the object or list, and the name or index in it."""
    waiting = [tree]
    while waiting:
        parent = waiting.pop()
        for key in parent if isinstance(parent, dict) else range(len(parent)):
            yield parent, key
            if isinstance(parent[key], dict | list):
                waiting.append(parent[key])


def _with_another_length(body: bytes, _: bytes, chance: random.Random) -> bytes:
    length = int.from_bytes(body[:8], "little")
    lie = chance.choice((*LENGTHS, length - 1, length + 1, len(body) - 8, len(body)))
    return (lie % (1 << 64)).to_bytes(8, "little") + body[8:]


def _with_another_header(body: bytes, other: bytes, chance: random.Random) -> bytes:
    """Mutate the header, and correct its length."""
    end = 8 + int.from_bytes(body[:8], "little")
    header = _json_changed(body[8:end], other, chance)
    return len(header).to_bytes(8, "little") + header + body[end:]


def _with_another_session(body: bytes, other: bytes, chance: random.Random) -> bytes:
    """Mutate a member of the metadata, which is JSON within JSON."""
    end = 8 + int.from_bytes(body[:8], "little")
    try:
        header = json.loads(body[8:end])
        metadata = header["__metadata__"]
        name = chance.choice(list(metadata))
        metadata[name] = _json_changed(metadata[name].encode(), other, chance).decode()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return body
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body[end:]


def _with_other_data(body: bytes, _: bytes, chance: random.Random) -> bytes:
    """Remove bytes, add bytes, or write a number that is not finite."""
    change = chance.randrange(3)
    if change == 0:
        return body[: -chance.choice((1, 2, 4, 8))]
    if change == 1:
        return body + chance.randbytes(chance.choice((1, 4, 4096)))
    hostile = chance.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\xff\xff", b"\1\0\0\0"))
    return body[:-4] + hostile


ANY: Sequence[Change] = (_flipped, _cut, _without_a_slice, _with_a_slice_twice, _spliced, _with_a_token)
BY_MEDIA_TYPE: dict[str, Sequence[Change]] = {
    JSON: (*ANY, *(_json_changed,) * 24),
    SAFETENSORS: (
        *ANY,
        _with_another_length,
        _with_other_data,
        *(_with_another_header,) * 12,
        *(_with_another_session,) * 8,
    ),
}
