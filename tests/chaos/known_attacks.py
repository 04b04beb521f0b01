"""Known attacks, as the bytes that go through a socket, and the one answer that each must get.

`{s}` in an attack stands for the path of a session that has taken one step of `grads/w`, float32 [2].
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

JSON, SAFETENSORS = "application/json", "application/vnd.safetensors"
DEEP = 100_000
MANY = 100_000
STEPS, SESSIONS = "{s}/steps", "/v1/sessions"


class Attack(NamedTuple):
    sent: bytes
    status: int
    code: str | None
    """Of the problem; `None` for what is harmless and answered."""


def request(method: str, path: str, body: bytes = b"", fields: Mapping[str, str | bytes] | None = None) -> bytes:
    """A request with its length announced, unless the fields say how it comes."""
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
    """A JSON body."""
    raw = body.encode() if isinstance(body, str) else body
    return request(method, path, raw, {"content-type": JSON} | {k.replace("_", "-"): v for k, v in fields.items()})


def binary(header: object, data: bytes = b"", *, claims: int | None = None, path: str = STEPS) -> bytes:
    """A safetensors body; `claims` is what it says of its header's length, where that is a lie."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = (len(raw) if claims is None else claims).to_bytes(8, "little")
    method = "PUT" if path.endswith("state") else "POST"
    return request(method, path, length + raw + data, {"content-type": SAFETENSORS})


def tensor(start: Any, end: Any, shape: Any = (2,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def a_step(params: str = '{"w": [1, 2]}', grads: str = '{"w": [1, 2]}', more: str = "") -> str:
    return f'{{"params": {params}, "grads": {grads}{more}}}'


EIGHT = bytes(8)
W = {"grads/w": tensor(0, 8), "params/w": tensor(8, 16)}
BOMB = b"0" * (16 << 20)


def malformed(sent: bytes) -> Attack:
    return Attack(sent, 400, "malformed_body")


def bad_head(sent: bytes) -> Attack:
    return Attack(sent, 400, "malformed_header")


BINARY: Mapping[str, Attack] = {
    name: malformed(sent)
    for name, sent in {
        "a header that is longer than the body": binary(W, EIGHT * 2, claims=1 << 20),
        "a header of 2^63 bytes": binary(W, EIGHT * 2, claims=1 << 63),
        "a header of 2^64-1 bytes": binary(W, EIGHT * 2, claims=(1 << 64) - 1),
        "a header of no bytes": binary(W, EIGHT * 2, claims=0),
        "a header that is cut": binary(W, EIGHT * 2, claims=20),
        "a body of seven bytes": request("POST", STEPS, b"1234567", {"content-type": SAFETENSORS}),
        "a header that is a list": binary([W], EIGHT * 2),
        "a header that is no UTF-8": binary(b'{"grads/\xff": {}}', EIGHT),
        "a header of 10^5 levels": binary(b"[" * DEEP + b"]" * DEEP),
        "a header that ends in NUL": binary(json.dumps(W).encode() + b"\0", EIGHT * 2),
        "offsets beyond the body": binary({**W, "params/w": tensor(8, 1 << 40, [1 << 38])}, EIGHT * 2),
        "negative offsets": binary({**W, "grads/w": tensor(-8, 0)}, EIGHT * 2),
        "offsets that overlap": binary({**W, "params/w": tensor(4, 12)}, EIGHT * 2),
        "two tensors of one place": binary({**W, "params/w": tensor(0, 8)}, EIGHT),
        "a gap between tensors": binary({**W, "params/w": tensor(12, 20)}, EIGHT * 3),
        "bytes after the last tensor": binary(W, EIGHT * 3),
        "bytes before the first tensor": binary({"grads/w": tensor(8, 16)}, EIGHT * 2),
        "offsets backwards": binary({**W, "params/w": tensor(16, 8)}, EIGHT * 2),
        "offsets of 2^64": binary({**W, "params/w": tensor(8, 1 << 64)}, EIGHT * 2),
        "offsets that are fractions": binary({**W, "params/w": tensor(8.0, 16.0)}, EIGHT * 2),
        "offsets that are booleans": binary({"grads/w": tensor(False, True, [])}, b"\0"),
        "a tensor's name twice": binary(
            b'{"grads/w": %s, "grads/w": %s}' % ((json.dumps(tensor(0, 8)).encode(),) * 2), EIGHT
        ),
        "a tensor's name twice, once in escapes": binary(
            b'{"grads/w": %s, "grads\\u002fw": %s}' % ((json.dumps(tensor(0, 8)).encode(),) * 2), EIGHT
        ),
        "10^5 tensors": binary({f"grads/{i}": tensor(0, 0, [0]) for i in range(MANY)}),
        "the shape [0, 10^18]": binary({"grads/w": tensor(0, 0, [0, 10**18])}),
        "a shape whose size is 2^64": binary({"grads/w": tensor(0, 0, [1 << 32, 1 << 32])}),
        "a shape whose size is 0 in 64 bits": binary({"grads/w": tensor(0, 0, [1 << 63, 2])}),
        "a negative shape": binary({"grads/w": tensor(0, 8, [-1, -2])}, EIGHT),
        "a shape of booleans": binary({"grads/w": tensor(0, 4, [True])}, b"\0" * 4),
        "a shape of 33 dimensions": binary({"grads/w": tensor(0, 4, [1] * 33)}, b"\0" * 4),
        "a dtype that is none": binary({"grads/w": tensor(0, 8, [1], "I64")}, EIGHT),
        "a dtype that is a list": binary({"grads/w": tensor(0, 8, [1], ["F32"])}, EIGHT),
        "a tensor without a name": binary({"grads/": tensor(0, 8)}, EIGHT),
        "a tensor of no section": binary({"w": tensor(0, 8)}, EIGHT),
        "a tensor of another section": binary({"m/w": tensor(0, 8)}, EIGHT),
        "a lone surrogate in a name": binary(b'{"grads/\\ud800": %s}' % json.dumps(tensor(0, 8)).encode(), EIGHT),
        "a name of 10^6 characters": binary({"grads/" + "x" * 10**6: tensor(0, 8)}, EIGHT),
        "metadata that are no texts": binary({"__metadata__": {"step": 2}, **W}, EIGHT * 2),
        "a step in Arabic digits": binary({"__metadata__": {"step": "٢"}, **W}, EIGHT * 2),
        "a step with underscores": binary({"__metadata__": {"step": "0_2"}, **W}, EIGHT * 2),
        "a step of 5,000 digits": binary({"__metadata__": {"step": "9" * 5000}, **W}, EIGHT * 2),
        "a state whose session is 10^5 levels deep": binary(
            {"__metadata__": {"session": "[" * DEEP + "]" * DEEP}}, path="{s}/state"
        ),
        "a state whose session has a name twice": binary(
            {"__metadata__": {"session": '{"format": 1, "format": 1}'}}, path="{s}/state"
        ),
    }.items()
}

TEXT: Mapping[str, Attack] = (
    {
        name: malformed(text(body))
        for name, body in {
            "lists of 10^5 levels": "[" * DEEP + "]" * DEEP,
            "lists of 10^5 levels that do not end": "[" * DEEP,
            "objects of 10^5 levels": '{"a":' * DEEP + "1" + "}" * DEEP,
            "a tensor of 900 levels": a_step(grads='{"w": ' + "[" * 900 + "1" + "]" * 900 + "}"),
            "a tensor of 33 levels": a_step(grads='{"w": ' + "[" * 33 + "1" + "]" * 33 + "}"),
            "10^5 tensors": json.dumps({"grads": {str(i): [] for i in range(MANY)}}),
            "a member twice": a_step(more=', "step": 2, "step": 2'),
            "a section twice": a_step(more=', "grads": {"w": [0, 0]}'),
            "a tensor twice": a_step(grads='{"w": [1, 2], "w": [1, 2]}'),
            "a tensor twice, once in escapes": a_step(grads='{"w": [1, 2], "\\u0077": [1, 2]}'),
            "a tensor twice, with colons in escapes": a_step(
                grads='{"w\\u003a": [1, 2], "w:": [1, 2]}', params='{"w:": [1, 2]}'
            ),
            "a dtype twice": a_step(
                grads='{"w": {"dtype": "float64", "dtype": "float32", "shape": [2], "data": [1, 2]}}'
            ),
            "NaN": a_step(grads='{"w": [NaN, 1]}'),
            "Infinity": a_step(grads='{"w": [Infinity, 1]}'),
            "1e999 for lr": a_step(more=', "lr": 1e999'),
            "a step of 400 digits": a_step(more=', "step": ' + "9" * 400),
            "a step of 2^53 + 1": a_step(more=', "step": 9007199254740993'),
            "a step that is a fraction": a_step(more=', "step": 2.0'),
            "a step that is a boolean": a_step(more=', "step": true'),
            "a negative step": a_step(more=', "step": -1'),
            "a loss that is a boolean": a_step(more=', "loss": true'),
            "a boolean among numbers": a_step(grads='{"w": [true, 1]}'),
            "a text among numbers": a_step(grads='{"w": ["1", 1]}'),
            "an Arabic digit": a_step(grads='{"w": [١, 1]}'),
            "a hexadecimal number": a_step(grads='{"w": [0x10, 1]}'),
            "a leading zero": a_step(grads='{"w": [01, 1]}'),
            "base64 in Arabic digits": a_step(grads='{"w": {"dtype": "float32", "shape": [1], "base64": "١١١١"}}'),
            "base64 with a line's end": a_step(
                grads='{"w": {"dtype": "float32", "shape": [1], "base64": "AAAA\\r\\nAA=="}}'
            ),
            "base64 of too few bytes": a_step(grads='{"w": {"dtype": "float32", "shape": [2], "base64": "AAAAAA=="}}'),
            "the shape [0, 10^18]": a_step(
                grads='{"w": {"dtype": "float32", "shape": [0, 1000000000000000000], "data": []}}'
            ),
            "a shape whose size is 2^64": a_step(
                grads='{"w": {"dtype": "float32", "shape": [4294967296, 4294967296], "data": []}}'
            ),
            "a negative shape": a_step(grads='{"w": {"dtype": "float32", "shape": [-1, -2], "data": [1, 2]}}'),
            "a lone surrogate in a name": a_step(grads='{"\\ud800": [1, 2]}'),
            "a name of 10^6 characters": a_step(grads='{"' + "x" * 10**6 + '": [1, 2]}'),
            "a name of no characters": a_step(grads='{"": [1, 2]}'),
            "two documents": a_step() + a_step(),
            "a byte order mark": "\ufeff" + a_step(),
            "a comment": "/* */" + a_step(),
            "NUL after the end": a_step() + "\0",
            "a member that is unknown": a_step(more=', "__proto__": {}'),
        }.items()
    }
    | {
        name: Attack(text(a_step(grads=grads)), 422, "non_finite")
        for name, grads in {
            "1e999": '{"w": [1e999, 1]}',
            "-1e999": '{"w": [-1e999, 1]}',
            "a number beyond float32": '{"w": [3.5e38, 1]}',
            "a whole number of 400 digits": '{"w": [' + "9" * 400 + ", 1]}",
            "null among numbers": '{"w": [null, 1]}',
        }.items()
    }
    | {
        "UTF-16": malformed(text(a_step().encode("utf-16"))),
        "bytes that are no UTF-8": malformed(text(a_step().encode() + b"\xff")),
        "a surrogate in UTF-8": malformed(text(a_step(grads='{"?": [1, 2]}').encode().replace(b"?", b"\xed\xa0\x80"))),
        "settings with a name twice": malformed(text('{"optimizer": "sgd", "optimizer": "adam"}', SESSIONS)),
        "a change with a name twice": malformed(text('{"labels": {"a": "1", "a": "2"}}', "{s}", "PATCH")),
        "parameters that are not there": malformed(text("{}", "{s}/params", "PUT")),
        "settings with a lone surrogate": malformed(text('{"optimizer": "sgd", "labels": {"a": "\\ud800"}}', SESSIONS)),
        "a learning rate of 1e999": Attack(
            text('{"optimizer": "sgd", "hyperparameters": {"lr": 1e999}}', SESSIONS), 422, "invalid_session"
        ),
        "a learning rate of 400 digits": Attack(
            text('{"optimizer": "sgd", "hyperparameters": {"lr": ' + "9" * 400 + "}}", SESSIONS), 422, "invalid_session"
        ),
        "warm-up steps beyond 2^53": Attack(
            text(
                '{"optimizer": "sgd", "schedule": {"kind": "linear_warmup", "warmup_steps": ' + "9" * 18 + "}}",
                SESSIONS,
            ),
            422,
            "invalid_session",
        ),
        "10^5 patterns": Attack(
            text(json.dumps({"optimizer": "sgd", "groups": [{"match": [f"*{i}" for i in range(MANY)]}]}), SESSIONS),
            422,
            "invalid_session",
        ),
        "10^5 groups": Attack(
            text(json.dumps({"optimizer": "sgd", "groups": [{"match": ["*"]}] * (MANY // 4)}), SESSIONS),
            422,
            "invalid_session",
        ),
        "a pattern of 10^5 stars": Attack(
            text('{"optimizer": "sgd", "groups": [{"match": ["' + "*a" * 50_000 + '"]}]}', SESSIONS),
            422,
            "invalid_session",
        ),
    }
)

COMPRESSED: Mapping[str, Attack] = {
    f"a bomb by {name}": Attack(text(body, content_encoding=coding), 415, "unsupported_media_type")
    for name, coding, body in (
        ("gzip", "gzip", gzip.compress(BOMB)),
        ("deflate", "deflate", zlib.compress(BOMB)),
        ("br", "br", b"\x1b\xff\xff"),
        ("zstd", "zstd", b"\x28\xb5\x2f\xfd"),
        ("two codings", "gzip, gzip", gzip.compress(gzip.compress(BOMB))),
        ("a coding in capitals", "GZIP", gzip.compress(BOMB)),
    )
} | {
    "a bomb that is not announced": malformed(text(gzip.compress(BOMB))),
    "no coding at all": Attack(text(a_step(), content_encoding="identity"), 200, None),
}


def raw(line: str, *fields: bytes, body: bytes = b"") -> bytes:
    """A request whose head is not to be trusted."""
    return b"\r\n".join([line.encode(), b"host: localhost", *fields, b"", body])


CHUNKED = b"transfer-encoding: chunked"
UPGRADE = b"content-type: application/json\r\nconnection: upgrade\r\nupgrade: h2c"
JSON_FIELD = b"content-type: application/json"
POST = "POST {s}/steps HTTP/1.1"
GET = "GET {s} HTTP/1.1"
GOOD = a_step().encode()

HEADS: Mapping[str, Attack] = {
    name: bad_head(sent)
    for name, sent in {
        "a negative Content-Length": raw(POST, JSON_FIELD, b"content-length: -1"),
        "a Content-Length with a sign": raw(POST, JSON_FIELD, b"content-length: +5", body=b"{}   "),
        "a Content-Length that is a word": raw(POST, JSON_FIELD, b"content-length: ten"),
        "a Content-Length in hexadecimal": raw(POST, JSON_FIELD, b"content-length: 0x10"),
        "a Content-Length of 30 digits": raw(POST, JSON_FIELD, b"content-length: " + b"9" * 30),
        "two Content-Lengths": raw(POST, JSON_FIELD, b"content-length: 2", b"content-length: 3", body=b"{}"),
        "a list of Content-Lengths": raw(POST, JSON_FIELD, b"content-length: 2, 2", body=b"{}"),
        "Content-Length and Transfer-Encoding": raw(
            POST, JSON_FIELD, b"content-length: 2", CHUNKED, body=b"2\r\n{}\r\n0\r\n\r\n"
        ),
        "Transfer-Encoding and Content-Length": raw(
            POST, JSON_FIELD, CHUNKED, b"content-length: 2", body=b"2\r\n{}\r\n0\r\n\r\n"
        ),
        "chunked that is not the last coding": raw(POST, JSON_FIELD, b"transfer-encoding: chunked, gzip"),
        "a line without a colon": raw(GET, b"nonsense"),
        "a name with a space": raw(GET, b"x y: z"),
        "a space before the colon": raw(GET, b"x : z"),
        "a name of no characters": raw(GET, b": z"),
        "NUL in a name": raw(GET, b"x\0: z"),
        "NUL in a value": raw(GET, b"x: \0"),
        "NUL in an idempotency key": raw(POST, b'idempotency-key: "a\0b"'),
        "NUL in an API key": raw(GET, b"authorization: Bearer a\0b"),
        "a line's end in a value": raw(GET, b"x: y\rz"),
        "a folded line": raw(GET, b"x: y", b" z"),
        "NUL in the path": raw("GET {s}\0 HTTP/1.1"),
        "a path with a line's end": raw("GET {s}\r HTTP/1.1"),
        "no path": raw("GET HTTP/1.1"),
        "a version that is none": raw("GET {s} HTTP/9.9"),
        "HTTP/0.9": raw("GET {s}"),
        "HTTP/0.9 by its name": raw("GET {s} HTTP/0.9"),
        "HTTP/1.2": raw("GET {s} HTTP/1.2"),
        "HTTP/2 as if it were HTTP/1": raw("GET {s} HTTP/2.0"),
        "HTTP/3 as if it were HTTP/1": raw("GET {s} HTTP/3"),
        "two hosts": raw(GET, b"host: localhost"),
        "two hosts, one of them another's": raw(GET, b"host: evil.example"),
        "no host": b"GET {s} HTTP/1.1\r\nx: y\r\n\r\n",
        "an upgrade with two Content-Lengths": raw(
            POST, UPGRADE, b"content-length: 2", b"content-length: 3", body=b"{}"
        ),
        "an upgrade with Content-Length and Transfer-Encoding": raw(
            POST, UPGRADE, b"content-length: 2", CHUNKED, body=b"2\r\n{}\r\n0\r\n\r\n"
        ),
        "HTTP/2 without being asked": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        "a method that is none": raw("FROB {s} HTTP/1.1"),
        "a method in small letters": raw("get {s} HTTP/1.1"),
        "a head of 1 MiB": raw(GET, b"x: " + b"y" * (1 << 20)),
        "10^4 fields": raw(GET, *(b"x-%d: some words to fill a line" % i for i in range(10_000))),
        "a path of 1 MiB": raw("GET /" + "x" * (1 << 20) + " HTTP/1.1"),
        "an idempotency key that ends early": request(
            "POST", STEPS, GOOD, {"content-type": JSON, "idempotency-key": '"a"b"'}
        ),
        "an idempotency key of 256 characters": request(
            "POST", STEPS, GOOD, {"content-type": JSON, "idempotency-key": f'"{"k" * 256}"'}
        ),
    }.items()
}

QUERIES: Mapping[str, Attack] = {
    name: Attack(sent, 400, "malformed_query")
    for name, sent in {
        "a limit of 0": raw("GET /v1/sessions?limit=0 HTTP/1.1"),
        "a limit of 10^30": raw(f"GET /v1/sessions?limit={10**30} HTTP/1.1"),
        "a limit of 5,000 digits": raw(f"GET /v1/sessions?limit={'9' * 5000} HTTP/1.1"),
        "a limit in Arabic digits": raw("GET /v1/sessions?limit=%D9%A3 HTTP/1.1"),
        "a limit that is a fraction": raw("GET /v1/sessions?limit=1.5 HTTP/1.1"),
        "a limit of nothing": raw("GET /v1/sessions?limit= HTTP/1.1"),
        "a cursor that is none": raw("GET /v1/sessions?cursor=../../x HTTP/1.1"),
        "a cursor with a line's end": raw(f"GET /v1/sessions?cursor={'0' * 32}%0a HTTP/1.1"),
        "a cursor of 10,000 digits": raw(f"GET /v1/sessions?cursor={'0' * 10_000} HTTP/1.1"),
        "history after 2^63": raw(f"GET {{s}}/history?after={1 << 63} HTTP/1.1"),
        "history before its begin": raw("GET {s}/history?after=-2 HTTP/1.1"),
    }.items()
}

PATHS: Mapping[str, Attack] = {
    name: Attack(raw(f"{line} HTTP/1.1"), status, code)
    for name, line, status, code in (
        ("the path of a session", "GET {s}", 200, None),
        ("an absolute path with another host", "GET http://evil.example{s}", 421, "misdirected"),
        ("an absolute path with this host", "GET http://localhost:8000{s}", 200, None),
        ("a path in capitals", "GET /V1/SESSIONS", 404, "route_not_found"),
        ("two slashes", "GET //v1/sessions", 404, "route_not_found"),
        ("a slash at the end", "GET {s}/", 404, "route_not_found"),
        ("a way up", "GET /v1/../v1/sessions", 404, "route_not_found"),
        ("a way up in escapes", "GET /v1/%2e%2e/v1/sessions", 404, "route_not_found"),
        ("a way up from a session", "GET {s}/../../../etc/passwd", 404, "route_not_found"),
        ("a way up in an id", "GET /v1/sessions/..%2f..%2fetc", 404, "route_not_found"),
        ("an id with NUL", "GET /v1/sessions/a%00b", 404, "session_not_found"),
        ("an id with a line's end", "GET /v1/sessions/a%0d%0ax-evil:1", 404, "session_not_found"),
        ("an id that is no UTF-8", "GET /v1/sessions/%ff%fe", 404, "session_not_found"),
        ("an id with a surrogate", "GET /v1/sessions/%ed%a0%80", 404, "session_not_found"),
        ("an id that is a pattern", "GET /v1/sessions/*", 404, "session_not_found"),
        ("an id with braces", "GET /v1/sessions/%7Bx%7D:head", 404, "session_not_found"),
        ("an id in Arabic digits", "GET /v1/sessions/%D9%A3", 404, "session_not_found"),
        ("an id of 10,000 characters", "GET /v1/sessions/" + "a" * 10_000, 404, "session_not_found"),
        ("to delete what is not there", "DELETE /v1/sessions/*", 404, "session_not_found"),
        ("the whole server", "OPTIONS *", 404, "route_not_found"),
        ("a way through", "CONNECT evil.example:443", 400, "malformed_header"),
        ("a question for methods", "OPTIONS {s}", 405, "method_not_allowed"),
        ("an echo", "TRACE {s}", 405, "method_not_allowed"),
    )
}

CHUNKS: Mapping[str, Attack] = {
    "a coding that is almost chunked": malformed(raw(POST, JSON_FIELD, b"transfer-encoding: xchunked")),
    "a chunk of 2^64 bytes": malformed(raw(POST, JSON_FIELD, CHUNKED, body=b"10000000000000000\r\n")),
    "a chunk of a negative length": malformed(raw(POST, JSON_FIELD, CHUNKED, body=b"-1\r\n")),
    "a chunk that is longer than it says": malformed(raw(POST, JSON_FIELD, CHUNKED, body=b"1\r\n{}\r\n0\r\n\r\n")),
    "an upgrade with a coding that is almost chunked": malformed(raw(POST, UPGRADE, b"transfer-encoding: xchunked")),
    "an upgrade with a request for its body": Attack(
        raw(POST, UPGRADE, b"content-length: %d" % len(GOOD), body=GOOD + b"DELETE {s} HTTP/1.1\r\n\r\n"), 200, None
    ),
    "a chunk with words behind its length": Attack(
        raw(POST, JSON_FIELD, CHUNKED, body=b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)), 200, None
    ),
    "chunks with a field after the last": Attack(
        raw(POST, JSON_FIELD, CHUNKED, body=b"%x\r\n%s\r\n0\r\nx-should-retry: true\r\n\r\n" % (len(GOOD), GOOD)),
        200,
        None,
    ),
}

FIELDS: Mapping[str, Attack] = {
    name: Attack(text(GOOD, **fields), status, code)
    for name, fields, status, code in (
        ("Accept that refuses the form", {"accept": "application/json;q=0"}, 406, "not_acceptable"),
        ("Accept that refuses everything", {"accept": "*/*;q=0"}, 406, "not_acceptable"),
        ("Accept with a quality that is no number", {"accept": "application/json;q=nan"}, 406, "not_acceptable"),
        ("Accept of 10,000 kinds", {"accept": ", ".join(["a/b"] * 10_000)}, 406, "not_acceptable"),
        ("an upgrade to another protocol", {"upgrade": "h2c", "connection": "upgrade"}, 200, None),
        ("an upgrade to a websocket", {"upgrade": "websocket", "connection": "upgrade"}, 200, None),
        ("an expectation that nobody has", {"expect": "a miracle"}, 200, None),
        ("a host that is another's", {"host": "evil.example"}, 421, "misdirected"),
        ("a host that begins as ours", {"host": "localhost.evil.example"}, 421, "misdirected"),
        ("a host that is every address", {"host": "0.0.0.0:8000"}, 421, "misdirected"),
        ("a host with a user", {"host": "localhost@evil.example"}, 400, "malformed_header"),
        ("a host of no characters", {"host": ""}, 400, "malformed_header"),
        ("a page of another site", {"origin": "https://evil.example"}, 403, "forbidden"),
        ("a page of no site", {"origin": "null", "sec-fetch-site": "cross-site"}, 403, "forbidden"),
        ("a method to be taken instead", {"x-http-method-override": "DELETE"}, 200, None),
        ("a path to be taken instead", {"x-original-url": "/metrics", "x-forwarded-prefix": "/x"}, 200, None),
        ("a media type with a charset", {"content-type": "application/json; charset=utf-7"}, 200, None),
        ("a media type in another alphabet", {"content-type": "аpplication/json"}, 415, "unsupported_media_type"),
        ("a form", {"content-type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
        ("a pickle", {"content-type": "application/x-python-pickle"}, 415, "unsupported_media_type"),
    )
}  # fmt: skip

ATTACKS: Mapping[str, Attack] = {
    f"{kind}: {name}": attack
    for kind, attacks in {
        "safetensors": BINARY,
        "JSON": TEXT,
        "compressed": COMPRESSED,
        "head": HEADS,
        "query": QUERIES,
        "path": PATHS,
        "chunks": CHUNKS,
        "field": FIELDS,
    }.items()
    for name, attack in attacks.items()
}
