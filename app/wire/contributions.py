"""Contributions, read from a body of any form, and packed as the store keeps them: as a body of safetensors."""

from collections.abc import Mapping
from dataclasses import replace

import orjson

from app.once import Once
from app.store.piece import checksum_of
from app.wire.codec import Codec, Limits
from app.wire.codecs import SAFETENSORS
from app.wire.safetensors_header import read_header
from app.wire.safetensors_tensors import CONTRIBUTION_SECTIONS, split, write_file
from app.workers.push import Packed, Upload


def read_contribution(codec: Codec, body: memoryview, limits: Limits, once: Once) -> Packed:
    """Return the contribution in a body, by whose digest its request is known again.

    Raises `MalformedBody` and `TensorMismatch`.
    """
    upload = codec.read_contribution(body, limits, once)
    stored = body if codec is SAFETENSORS else _written(upload)
    digest = _digest_of(stored, limits)
    request = replace(upload.request, once=replace(once, body=digest))
    return Packed(replace(upload, request=request), stored, digest)


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


def _digest_of(stored: memoryview, limits: Limits) -> str:
    """Return the digest of tensors and metadata, without the epoch."""
    text, data = split(stored)
    header = read_header(text, len(data), CONTRIBUTION_SECTIONS, limits)
    tensors = [(*tensor, run.dtype.name, run.start) for run in header.runs for tensor in run.tensors]
    said: Mapping[str, str] = header.metadata or {}
    beside = {name: value for name, value in said.items() if name != "epoch"}
    return checksum_of(orjson.dumps([repr(tensors), beside, checksum_of(data)], option=orjson.OPT_SORT_KEYS))
