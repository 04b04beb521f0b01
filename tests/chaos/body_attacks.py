"""Known attacks by a request's body: safetensors, JSON and compressed bodies."""

import gzip
import json
import zlib
from collections.abc import Mapping

from tests.chaos.attacks import (
    DEEP,
    EIGHT,
    MANY,
    SAFETENSORS,
    SESSIONS,
    STEPS,
    Attack,
    W,
    a_step,
    binary,
    malformed,
    request,
    tensor,
    text,
)

BOMB = b"0" * (16 << 20)
GZIPPED = gzip.compress(BOMB)

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
        ("gzip", "gzip", GZIPPED),
        ("deflate", "deflate", zlib.compress(BOMB)),
        ("br", "br", b"\x1b\xff\xff"),
        ("zstd", "zstd", b"\x28\xb5\x2f\xfd"),
        ("two codings", "gzip, gzip", gzip.compress(GZIPPED)),
        ("a coding in capitals", "GZIP", GZIPPED),
    )
} | {
    "a bomb that is not announced": malformed(text(GZIPPED)),
    "no coding at all": Attack(text(a_step(), content_encoding="identity"), 200, None),
}
