"""Contributions as they are read and packed, from both forms."""

import json
from typing import Any

import numpy as np
import pytest

from app.errors import MalformedBody
from app.once import Once
from app.store.piece import PIECE_BYTES
from app.wire.codec import Limits
from app.wire.codecs import JSON, SAFETENSORS
from app.wire.contributions import read_contribution
from app.workers.push import Packed
from tests.bodies import encode

LIMITS, ONCE = Limits(100, 100), Once("PUT /")
W = {"w": np.float32([1.0, -2.0])}


def binary(**metadata: str) -> Packed:
    body = encode({"grads": W}, {"epoch": "1"} | metadata)
    return read_contribution(SAFETENSORS, memoryview(body), LIMITS, ONCE)


def written(**members: Any) -> Packed:
    body = json.dumps({"epoch": 1, "grads": {"w": [1.0, -2.0]}} | members).encode()
    return read_contribution(JSON, memoryview(body), LIMITS, ONCE)


def test_a_contribution_has_what_stands_beside_its_gradients() -> None:
    for packed in (
        binary(epoch="7", weight="2.5", base_step="3", grad_scale="8", loss="0.5"),
        written(epoch=7, weight=2.5, base_step=3, grad_scale=8, loss=0.5),
    ):
        upload = packed.upload
        assert (upload.epoch, upload.weight, upload.base_step) == (7, 2.5, 3)
        assert (upload.request.grad_scale, upload.request.loss) == (8.0, 0.5)
        assert upload.request.grads["w"].tolist() == [1.0, -2.0]
        again = read_contribution(SAFETENSORS, packed.parts[0][1], LIMITS, ONCE)
        assert (again.upload.weight, again.upload.request.grad_scale, again.digest) == (2.5, 8.0, packed.digest)


@pytest.mark.parametrize("read", [binary, written])
def test_the_epoch_alone_is_no_part_of_the_digest(read: Any) -> None:
    digest = read().digest
    assert read(epoch="2" if read is binary else 2).digest == digest
    for other in ({"weight": "2"}, {"loss": "1"}, {"base_step": "0"}, {"grad_scale": "2"}):
        beside = other if read is binary else {name: float(value) for name, value in other.items()}
        if "base_step" in beside:
            beside = other if read is binary else {"base_step": 0}
        assert read(**beside).digest != digest


def large(epoch: str, nbytes: int, last: int = 0) -> Packed:
    grads = np.zeros(nbytes // 4, np.float32)
    grads[-1] = last
    return read_contribution(SAFETENSORS, memoryview(encode({"grads": {"w": grads}}, {"epoch": epoch})), LIMITS, ONCE)


def test_a_long_header_changes_no_digest_by_its_cuts() -> None:
    at_the_limit = PIECE_BYTES - large("1", PIECE_BYTES - 400).parts[0][0].size + PIECE_BYTES - 400
    for nbytes in (at_the_limit, 2 * PIECE_BYTES + 8):
        short, long = large("1", nbytes), large("1" + "0" * 15, nbytes)
        assert short.digest == long.digest != large("1", nbytes, last=1).digest
    assert [len(large(epoch, at_the_limit).parts) for epoch in ("1", "1" + "0" * 15)] == [1, 2]


@pytest.mark.parametrize(
    ("member", "value"), [("epoch", None), ("epoch", 0), ("weight", 0), ("weight", "NaN"), ("base_step", -1), ("lr", 1)]
)
def test_a_member_that_cannot_be_is_refused(member: str, value: Any) -> None:
    with pytest.raises(MalformedBody, match=member):
        written(**{member: value})
    with pytest.raises(MalformedBody, match=member):
        read_contribution(
            SAFETENSORS,
            memoryview(encode({"grads": W}, {"epoch": "1", member: str(value)} if value is not None else {})),
            LIMITS,
            ONCE,
        )
