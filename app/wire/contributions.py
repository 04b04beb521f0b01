"""Contributions, read from a body of any form, and packed as the store keeps them: as a body of safetensors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from app.once import Once
from app.store.base import new_token
from app.store.piece import PIECE_BYTES, Part, Piece, checksum_of, cut
from app.wire.codec import Codec, Limits
from app.wire.codecs import SAFETENSORS
from app.wire.safetensors_header import read_header
from app.wire.safetensors_tensors import CONTRIBUTION_SECTIONS, split, write_file
from app.workers.push import Packed, Upload

LENGTH_BYTES = 8
"""The bytes before the header, which say how long it is."""


def read_contribution(codec: Codec, body: memoryview, limits: Limits, once: Once) -> Packed:
    """Return the contribution in a body, by whose digest its request is known again.

    Raises `MalformedBody` and `TensorMismatch`.
    """
    upload = codec.read_contribution(body, limits, once)
    stored = body if codec is SAFETENSORS else _written(upload)
    parts = parts_of(stored, new_token())
    digest = _digest_of(stored, parts, limits)
    request = replace(upload.request, once=replace(once, body=digest))
    return Packed(replace(upload, request=request), parts, digest)


def _written(upload: Upload) -> memoryview:
    """Return a contribution that came in JSON, whose gradients are dense or of rows, as safetensors."""
    request = upload.request
    metadata = {
        "epoch": str(upload.epoch),
        "weight": repr(upload.weight),
        "grad_scale": repr(request.grad_scale),
    }
    if request.loss is not None:
        metadata["loss"] = repr(request.loss)
    if upload.base_step is not None:
        metadata["base_step"] = str(upload.base_step)
    tensors = {f"rows/{name}": array for name, array in request.rows.items()}
    tensors |= {f"grads/{name}": array for name, array in request.grads.items()}
    return memoryview(b"".join(write_file(metadata, tensors.items())))


def parts_of(body: memoryview, token: str) -> tuple[Part, ...]:
    """Return the pieces of a body, named after a token that nobody else has, with their bytes.

    A long body is cut anew where its tensors begin. So bodies with the same tensors are cut in the same places,
    whatever their headers say besides, and are read piece by piece together.

    >>> [piece.size for piece, _ in parts_of(memoryview(b"\\2\\0\\0\\0\\0\\0\\0\\0{}"), new_token())]
    [10]
    """
    start = start_of(body)
    cuts = [body] if len(body) <= PIECE_BYTES else [*cut(body[:start]), *cut(body[start:])]
    return tuple((Piece(f"round-{token}-{i}", len(data), checksum_of(data)), data) for i, data in enumerate(cuts))


def start_of(body: memoryview) -> int:
    """Return the byte with which the tensors begin; the first 8 bytes of the body say it."""
    return LENGTH_BYTES + int.from_bytes(body[:LENGTH_BYTES], "little")


def _digest_of(stored: memoryview, parts: Sequence[Part], limits: Limits) -> str:
    """Return the digest of tensors and metadata, without the epoch. The checksums of the parts spare another pass."""
    text, data = split(stored)
    header = read_header(text, len(data), CONTRIBUTION_SECTIONS, limits)
    tensors = [(*tensor, run.dtype.name, run.start) for run in header.runs for tensor in run.tensors]
    said: Mapping[str, str] = header.metadata or {}
    beside = {name: value for name, value in said.items() if name != "epoch"}
    cuts = cut(data)
    known = [piece.checksum for piece, _ in parts[len(parts) - len(cuts) :]]
    sums = known if len(parts) > 1 else [*map(checksum_of, cuts)]
    return checksum_of(orjson.dumps([repr(tensors), beside, sums], option=orjson.OPT_SORT_KEYS))
