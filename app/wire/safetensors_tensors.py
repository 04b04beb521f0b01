"""Tensors as safetensors: 8 bytes that say how long the header is, the header in JSON, the tensors' bytes.

Read as views of the body, written as views of the arrays: nothing is copied. The package `safetensors` does copy, and
takes headers that this one refuses (duplicate names, `[0, 10**18]`); the tests hold both against each other.
Format: https://huggingface.co/docs/safetensors, "Format".
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import orjson

from app.errors import MalformedBody
from app.session import DTYPES
from app.wire.codec import Buffer, Codec, Limits, StepBody, checked_lr, checked_shape, checked_step
from optim_engine.arrays import Array, Arrays

T = TypeVar("T")

NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
DTYPE_OF = {name: DTYPES[dtype] for dtype, name in NAMES.items()}
MAX_HEADER_BYTES = 100_000_000


class SafetensorsTensors(Codec):
    media_type = "application/vnd.safetensors"
    also = ("application/octet-stream",)

    def read_step(self, body: Buffer, limits: Limits) -> StepBody:
        metadata, tensors = read_file(body)
        sections = split(tensors, ("params", "grads"), limits)
        unknown = metadata.keys() - {"step", "lr", "loss", "format"}
        if unknown:
            raise MalformedBody(f"__metadata__ has {min(unknown)!r:.80}; a step has step, lr and loss")
        return StepBody(
            grads=sections["grads"],
            params=sections["params"],
            step=checked_step(_from_text(metadata, "step", int)),
            lr=checked_lr(_from_text(metadata, "lr", float)),
            loss=_from_text(metadata, "loss", float),
        )

    def write_answer(self, answer: Mapping[str, Any], params: Arrays, forms: Mapping[str, str]) -> list[Buffer]:
        metadata = {
            "step": str(answer["step"]),
            "skipped": "true" if answer["skipped"] else "false",
            "digest": answer["digest"],
            "metrics": orjson.dumps(answer["metrics"]).decode(),
        }
        return write_file(metadata, ((f"params/{name}", array) for name, array in params.items()))

    def read_params(self, body: Buffer, limits: Limits) -> dict[str, Array]:
        _, tensors = read_file(body)
        return split(tensors, ("params",), limits)["params"]

    def write_params(self, params: Arrays) -> list[Buffer]:
        return write_file({}, ((f"params/{name}", array) for name, array in params.items()))


def read_file(body: Buffer) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata, and the tensors by name as views of `body`. Raises `MalformedBody`."""
    body = memoryview(body)
    if len(body) < 8:
        raise MalformedBody(f"{len(body)} bytes are too few for a safetensors body")
    header_bytes = int.from_bytes(body[:8], "little")
    if not 2 <= header_bytes <= min(len(body) - 8, MAX_HEADER_BYTES):
        raise MalformedBody(f"the header claims {header_bytes} bytes, the body has {len(body) - 8} after its length")
    try:
        header = orjson.loads(body[8 : 8 + header_bytes])
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"the safetensors header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise MalformedBody("the safetensors header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedBody("__metadata__ must be an object of strings")
    data = body[8 + header_bytes :]
    return metadata, dict(_read_tensors(header, data))


def _read_tensors(header: dict[str, Any], data: memoryview) -> Iterable[tuple[str, Array]]:
    """The tensors, which must cover the data without a hole or an overlap: so no name can hide another's bytes."""
    entries = sorted(((name, *_read_entry(name, entry)) for name, entry in header.items()), key=lambda entry: entry[3:])
    position = 0
    for name, dtype, shape, start, end in entries:
        if start != position or end - start != math.prod(shape) * dtype.itemsize or end > len(data):
            raise MalformedBody(
                f"tensor {name!r:.80}: bytes {start} to {end} do not hold {dtype.name} {list(shape)} right after byte "
                f"{position} of {len(data)}",
                tensor=name,
            )
        position = end
        array = np.frombuffer(data[start:end], np.uint8).view(dtype).reshape(shape)
        yield name, array if array.flags.aligned else array.copy()
    if position != len(data):
        raise MalformedBody(f"{len(data) - position} bytes after the last tensor belong to none")


def _read_entry(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise MalformedBody(f"tensor {name!r:.80} needs dtype, shape and data_offsets, and no more", tensor=name)
    dtype = DTYPE_OF.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise MalformedBody(
            f"tensor {name!r:.80} has dtype {entry['dtype']!r:.40}; there is {', '.join(DTYPE_OF)}", tensor=name
        )
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in offsets):
        raise MalformedBody(f"tensor {name!r:.80}: its data_offsets are not two whole numbers", tensor=name)
    return dtype, checked_shape(name, entry["shape"]), offsets[0], offsets[1]


def write_file(metadata: Mapping[str, str], tensors: Iterable[tuple[str, Array]]) -> list[Buffer]:
    """A safetensors file as buffers: the header, then each array's own memory."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    buffers: list[Buffer] = []
    position = 0
    for name, array in tensors:
        end = position + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype.name], "shape": array.shape, "data_offsets": [position, end]}
        position = end
        if array.nbytes:
            buffers.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    text = orjson.dumps(header)
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *buffers]


def split(tensors: Arrays, sections: tuple[str, ...], limits: Limits) -> dict[str, dict[str, Array]]:
    """Tensors by the part of their name before the first slash; each of `sections` is there, and no other may be."""
    found: dict[str, dict[str, Array]] = {section: {} for section in sections}
    for name, array in tensors.items():
        section, slash, tensor = name.partition("/")
        if not slash or section not in found:
            named = " or ".join(f"{section}/<name>" for section in sections)
            raise MalformedBody(f"tensor {name!r:.80} must be named {named}", tensor=name)
        found[section][limits.check_name(tensor)] = array
    for arrays in found.values():
        limits.check_count(len(arrays))
    return found


def _from_text(metadata: Mapping[str, str], name: str, kind: Callable[[str], T]) -> T | None:
    if name not in metadata:
        return None
    try:
        return kind(metadata[name])
    except ValueError:
        raise MalformedBody(f"__metadata__ {name!r} is {metadata[name]!r:.40}, not a number") from None
