"""Tensors as safetensors: 8 bytes that say how long the header is, the header in JSON, the tensors' bytes.

Read as views of the body, written as views of the arrays: nothing is copied. The package `safetensors` does copy, and
takes headers that this one refuses (the shape `[0, 10**18]`, any number of tensors); the tests hold both against each
other.
Format: https://huggingface.co/docs/safetensors, "Format".
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import orjson

from app.errors import MalformedBody
from app.once import Once
from app.step import StepAnswer, StepRequest
from app.wire.codec import (
    NO_ROWS,
    Buffer,
    Codec,
    Limits,
    checked_base_step,
    checked_epoch,
    checked_grad_scale,
    checked_lr,
    checked_step,
    checked_weight,
    joined,
    number_of,
)
from app.wire.compressed import checked_at, checked_scale
from app.wire.json_text import read_text
from app.wire.rows import checked_rows
from app.wire.safetensors_header import INT8, NAMES, Header, read_header
from app.workers.push import Upload
from optim_engine.arrays import Array, Arrays
from optim_engine.views import Places, Views

Sections: TypeAlias = dict[str, dict[str, Array]]

STEP_SECTIONS = ("params", "grads", "rows", "at", "scale")
STEP_METADATA = ("step", "lr", "overrides", "grad_scale", "loss")
"""The members of a step's metadata, besides `format`."""
CONTRIBUTION_SECTIONS = STEP_SECTIONS[1:]
CONTRIBUTION_METADATA = ("epoch", "weight", "base_step", "grad_scale", "loss")
"""The same of a contribution."""
MAX_HEADER_BYTES = 100_000_000


class Written(NamedTuple):
    """The header of a step's parameters as written, and the parts of its vectors that have their bytes."""

    dtypes: list[np.dtype[Any]]
    entries: bytes
    parts: list[tuple[int, slice]]


_WRITTEN: WeakKeyDictionary[Places, Written] = WeakKeyDictionary()


class SafetensorsTensors(Codec):
    media_type = "application/vnd.safetensors"
    also = ("application/octet-stream",)

    def read_step(self, body: Buffer, limits: Limits, once: Once) -> StepRequest:
        header, sections = _read(body, STEP_SECTIONS, limits)
        given = _read_metadata(header.metadata, limits) if header.metadata else {}
        return StepRequest(once=once, params=sections["params"], **_gradients(header, sections), **given)

    def read_contribution(self, body: Buffer, limits: Limits, once: Once) -> Upload:
        header, sections = _read(body, CONTRIBUTION_SECTIONS, limits)
        metadata = header.metadata or {}
        _check_members(metadata, CONTRIBUTION_METADATA)
        request = StepRequest(
            once=once,
            grad_scale=checked_grad_scale(number_of(metadata, "grad_scale", float)),
            loss=number_of(metadata, "loss", float),
            **_gradients(header, sections),
        )
        return Upload(
            request,
            checked_epoch(number_of(metadata, "epoch", int)),
            checked_weight(number_of(metadata, "weight", float)),
            checked_base_step(number_of(metadata, "base_step", int)),
        )

    def write_answer(self, answer: StepAnswer, forms: Mapping[str, str]) -> list[Buffer]:
        kept = answer.kept
        metadata = {
            "step": str(kept.step),
            "skipped": "true" if answer.skipped else "false",
            "digest": kept.digest,
            "params_digest": kept.params_digest or "",
            "metrics": orjson.dumps(kept.metrics).decode(),
            "warnings": orjson.dumps(kept.warnings).decode(),
        }
        if answer.preview:
            metadata["preview"] = "true"
        if answer.staleness is not None:
            metadata["staleness"] = str(answer.staleness)
        if isinstance(answer.params, Views) and not answer.rows:
            return _write_views(metadata, answer.params)
        return write_file(metadata, _with_rows(answer.params, answer.rows))

    def read_params(self, body: Buffer, limits: Limits) -> dict[str, Array]:
        return read_file(body, ("params",), limits)[1]["params"]

    def write_params(self, params: Arrays, rows: Arrays = NO_ROWS) -> list[Buffer]:
        return write_file({}, _with_rows(params, rows))


def _gradients(header: Header, sections: Sections) -> dict[str, Any]:
    """Return the gradients of a body as a step has them."""
    grads, rows = sections["grads"], checked_rows(sections["rows"], sections["grads"])
    return {
        "grads": grads,
        "rows": rows,
        "at": checked_at(sections["at"], grads, rows),
        "scale": checked_scale(sections["scale"], grads, header.names_of(INT8)),
    }


def _with_rows(params: Arrays, rows: Arrays) -> Iterator[tuple[str, Array]]:
    """Yield the rows, which come first, where 8 bytes are aligned, and then the parameters."""
    yield from ((f"rows/{name}", array) for name, array in rows.items())
    yield from ((f"params/{name}", array) for name, array in params.items())


def read_file(body: Buffer, sections: Collection[str], limits: Limits) -> tuple[Mapping[str, str], Sections]:
    """Return the metadata, and by section the tensors that are named `<section>/<name>`, as views of `body`.

    Raises `MalformedBody`, also for a tensor of another section.
    """
    header, found = _read(body, sections, limits)
    return header.metadata or {}, found


def _read(body: Buffer, sections: Collection[str], limits: Limits) -> tuple[Header, Sections]:
    text, data = split(memoryview(body))
    header = read_header(text, len(data), tuple(sections), limits)
    found: Sections = {section: {} for section in sections}
    everything = np.frombuffer(data, np.uint8)
    for run in header.runs:
        vector = everything[run.start : run.end].view(run.dtype)
        if not vector.flags.aligned:
            vector = vector.copy()
        for section, tensor, part, shape in run.tensors:
            found[section][tensor] = vector[part] if len(shape) == 1 else vector[part].reshape(shape)
    return header, found


def split(body: memoryview) -> tuple[bytes, memoryview]:
    """Return the text of a file's header, and the bytes after it. Raises `MalformedBody`."""
    if len(body) < 8:
        raise MalformedBody(f"{len(body)} bytes are too few for a safetensors body{_hint(body)}")
    header_bytes = int.from_bytes(body[:8], "little")
    if not 2 <= header_bytes <= min(len(body) - 8, MAX_HEADER_BYTES):
        raise MalformedBody(
            f"the header claims {header_bytes} bytes, the body has {len(body) - 8} after its length{_hint(body)}"
        )
    return bytes(body[8 : 8 + header_bytes]), body[8 + header_bytes :]


def _hint(body: memoryview) -> str:
    return "; if this is JSON, send `Content-Type: application/json`" if bytes(body[:8]).lstrip()[:1] == b"{" else ""


def write_file(metadata: Mapping[str, str], tensors: Iterable[tuple[str, Array]]) -> list[Buffer]:
    """Return a safetensors file as buffers: the header, then each array's own memory."""
    arrays = dict(tensors)
    head = _head(metadata, _entries((name, array.dtype, array.shape) for name, array in arrays.items()))
    buffers = [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for array in arrays.values() if array.nbytes]
    return joined([head, *buffers])


def _write_views(metadata: Mapping[str, str], params: Views) -> list[Buffer]:
    """Write a step's parameters: from step to step only the metadata changes, so the rest of the header is kept."""
    dtypes = [vector.dtype for vector in params.vectors]
    written = _WRITTEN.get(params.places)
    if written is None or written.dtypes != dtypes:
        tensors = ((f"params/{name}", dtypes[i], shape) for name, (i, _, shape) in params.places.items())
        written = Written(dtypes, _entries(tensors), _parts_of(params.places))
        _WRITTEN[params.places] = written
    buffers = [params.vectors[i][part].view(np.uint8).data for i, part in written.parts]
    return joined([_head(metadata, written.entries), *buffers])


def _parts_of(places: Places) -> list[tuple[int, slice]]:
    """Return the parts of the vectors in the order of the tensors: one for tensors that lie side by side."""
    parts = list[tuple[int, slice]]()
    for i, part, _ in places.values():
        if parts and parts[-1][0] == i and parts[-1][1].stop == part.start:
            parts[-1] = i, slice(parts[-1][1].start, part.stop)
        else:
            parts.append((i, part))
    return [(i, part) for i, part in parts if part.start < part.stop]


def _entries(tensors: Iterable[tuple[str, np.dtype[Any], tuple[int, ...]]]) -> bytes:
    """Return a header's entries of tensors that lie side by side: names, dtypes and shapes."""
    entries, end = dict[str, Any](), 0
    for name, dtype, shape in tensors:
        start, end = end, end + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": [start, end]}
    return orjson.dumps(entries)


def _head(metadata: Mapping[str, str], entries: bytes) -> bytes:
    """Return the length and the header, which ends at a multiple of 8 bytes."""
    if metadata:
        entries = b'{"__metadata__":%b%b%b' % (orjson.dumps(metadata), b"," * (entries != b"{}"), entries[1:])
    padding = -len(entries) % 8
    return b"%b%b%b" % ((len(entries) + padding).to_bytes(8, "little"), entries, b" " * padding)


def _read_metadata(metadata: Mapping[str, str], limits: Limits) -> dict[str, Any]:
    """Return the members of a step that its metadata has. Raises `MalformedBody`."""
    _check_members(metadata, STEP_METADATA)
    return {
        "step": checked_step(number_of(metadata, "step", int)),
        "lr": checked_lr(number_of(metadata, "lr", float)),
        "overrides": _from_json(metadata, "overrides", limits),
        "grad_scale": checked_grad_scale(number_of(metadata, "grad_scale", float)),
        "loss": number_of(metadata, "loss", float),
    }


def _check_members(metadata: Mapping[str, str], known: Collection[str]) -> None:
    if unknown := metadata.keys() - {*known, "format"}:
        expected = ", ".join(known)
        raise MalformedBody(f"unknown member {min(unknown)!r:.80} of __metadata__; expected one of {expected}")


def _from_json(metadata: Mapping[str, str], name: str, limits: Limits) -> Any:
    """Return the value of a text in JSON."""
    if name not in metadata:
        return None
    return read_text(metadata[name].encode(), f"__metadata__ {name!r}", limits.max_json_depth)
