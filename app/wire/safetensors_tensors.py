"""Tensors as safetensors: 8 bytes that say how long the header is, the header in JSON, the tensors' bytes.

Read as views of the body, written as views of the arrays: nothing is copied. The package `safetensors` does copy, and
takes headers that this one refuses (the shape `[0, 10**18]`, any number of tensors); the tests hold both against each
other.
Format: https://huggingface.co/docs/safetensors, "Format".
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import orjson

from app.errors import MalformedBody
from app.once import Once
from app.session import DTYPES
from app.step import StepAnswer, StepRequest
from app.wire.codec import (
    Buffer,
    Codec,
    Limits,
    checked_grad_scale,
    checked_lr,
    checked_shape,
    checked_step,
    joined,
    number_of,
)
from app.wire.json_text import loads, read_text
from optim_engine.arrays import Array, Arrays
from optim_engine.fields import named
from optim_engine.views import Places, Views

T = TypeVar("T")
Sections: TypeAlias = dict[str, dict[str, Array]]

NAMES = {dtype: name.replace("float", "F").upper() for name, dtype in DTYPES.items()}
"""The format's name of each dtype: F64, F32, F16, BF16."""
DTYPE_OF = {name: dtype for dtype, name in NAMES.items()}
STEP_METADATA = ("step", "lr", "overrides", "grad_scale", "loss")
"""The members of a step's metadata, besides `format`."""
MEMBERS = ("dtype", "shape", "data_offsets")
MAX_HEADER_BYTES = 100_000_000
METADATA_FIRST = re.compile(rb'\{"__metadata__":(\{[^{}\\]*\}),(?=")')
"""The start of a header that has its metadata first, and no escape in it."""
LONGEST_KEPT = 1 << 18
"""Bytes of the longest header that is kept as read: about 2,000 tensors."""
MOST_KEPT = 16


class Place(NamedTuple):
    """The place of a tensor in the data, from byte `start` to `end`."""

    section: str
    tensor: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    end: int


class Run(NamedTuple):
    """Tensors of one dtype that lie side by side, from byte `start` to `end`: their sections, names, elements and
    shapes."""

    dtype: np.dtype[Any]
    start: int
    end: int
    tensors: tuple[tuple[str, str, slice, tuple[int, ...]], ...]


class Header(NamedTuple):
    """A header as read. Do not change its metadata: it may be kept."""

    metadata: Mapping[str, str] | None
    runs: tuple[Run, ...]


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
        metadata, sections = read_file(body, ("params", "grads"), limits)
        if unknown := metadata.keys() - {*STEP_METADATA, "format"}:
            expected = ", ".join(STEP_METADATA)
            raise MalformedBody(f"unknown member {min(unknown)!r:.80} of __metadata__; expected one of {expected}")
        return StepRequest(
            grads=sections["grads"],
            once=once,
            params=sections["params"],
            step=checked_step(number_of(metadata, "step", int)),
            lr=checked_lr(number_of(metadata, "lr", float)),
            overrides=_from_json(metadata, "overrides", limits),
            grad_scale=checked_grad_scale(number_of(metadata, "grad_scale", float)),
            loss=number_of(metadata, "loss", float),
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
        if isinstance(answer.params, Views):
            return _write_views(metadata, answer.params)
        return write_file(metadata, ((f"params/{name}", array) for name, array in answer.params.items()))

    def read_params(self, body: Buffer, limits: Limits) -> dict[str, Array]:
        return read_file(body, ("params",), limits)[1]["params"]

    def write_params(self, params: Arrays) -> list[Buffer]:
        return write_file({}, ((f"params/{name}", array) for name, array in params.items()))


def read_file(body: Buffer, sections: Collection[str], limits: Limits) -> tuple[Mapping[str, str], Sections]:
    """Return the metadata, and by section the tensors that are named `<section>/<name>`, as views of `body`.

    Raises `MalformedBody`, also for a tensor of another section.
    """
    text, data = _split(memoryview(body))
    header = _read_header(text, len(data), tuple(sections), limits)
    found: Sections = {section: {} for section in sections}
    everything = np.frombuffer(data, np.uint8)
    for run in header.runs:
        vector = everything[run.start : run.end].view(run.dtype)
        if not vector.flags.aligned:
            vector = vector.copy()
        for section, tensor, part, shape in run.tensors:
            found[section][tensor] = vector[part] if len(shape) == 1 else vector[part].reshape(shape)
    return header.metadata or {}, found


def _split(body: memoryview) -> tuple[bytes, memoryview]:
    """Return the text of the header, and the bytes after it."""
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


def _read_header(text: bytes, nbytes: int, sections: tuple[str, ...], limits: Limits) -> Header:
    """Read a header. From step to step at most its metadata changes, so the rest of a short one is kept as read."""
    if len(text) > LONGEST_KEPT:
        return _read_text(text, nbytes, sections, limits)
    first = METADATA_FIRST.match(text)
    if first is None:
        return _kept(text, nbytes, sections, limits)
    try:
        metadata = _read_metadata(first[1])
        rest = _kept(b"{" + text[first.end() :].rstrip(b" "), nbytes, sections, limits)
    except MalformedBody:
        return _read_text(text, nbytes, sections, limits)  # to say it of the whole
    if rest.metadata is not None:
        return _read_text(text, nbytes, sections, limits)
    return Header(metadata, rest.runs)


def _read_text(text: bytes, nbytes: int, sections: tuple[str, ...], limits: Limits) -> Header:
    """Read the header of `nbytes` bytes of data."""
    header = read_text(text, "the safetensors header")
    if not isinstance(header, dict):
        raise MalformedBody("the safetensors header is not a JSON object")
    metadata = _checked_metadata(header.pop("__metadata__")) if "__metadata__" in header else None
    names = _checked_names(header, sections, limits)
    return Header(metadata, tuple(_runs_of(_read_places(header, names, nbytes, limits))))


_kept = lru_cache(MOST_KEPT)(_read_text)


def _read_metadata(text: bytes) -> Mapping[str, str]:
    """Read metadata without an escape: if all is strings, each member has four quotes, and one that stands twice shows.

    Reading any text with the same care takes ten times as long.
    """
    with suppress(orjson.JSONDecodeError):
        metadata = loads(text)
        if text.count(b'"') == 4 * len(metadata):
            return _checked_metadata(metadata)
    return _checked_metadata(read_text(text, "the safetensors header"))


def _checked_metadata(metadata: Any) -> Mapping[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedBody("__metadata__ must be an object of strings")
    return metadata


def _checked_names(names: Iterable[str], sections: Collection[str], limits: Limits) -> dict[str, tuple[str, str]]:
    """Return section and tensor of each name, all within the limits."""
    places = {}
    for name in names:
        section, slash, tensor = name.partition("/")
        if not slash or section not in sections:
            expected = " or ".join(f"{section}/<name>" for section in sections)
            raise MalformedBody(f"tensor {named(name)} must be named {expected}")
        limits.check_name(tensor)
        places[name] = section, tensor
    for count in Counter(section for section, _ in places.values()).values():
        limits.check_count(count)
    return places


def _read_places(
    header: dict[str, Any], names: Mapping[str, tuple[str, str]], nbytes: int, limits: Limits
) -> Iterable[Place]:
    """Yield the tensors, which must cover the data without a gap or an overlap, so no name can hide another's bytes."""
    entries = sorted(((name, *_read_entry(name, entry)) for name, entry in header.items()), key=lambda entry: entry[3:])
    position = 0
    for name, dtype, shape, start, end in entries:
        if start != position or end - start != math.prod(shape) * dtype.itemsize or end > nbytes:
            raise MalformedBody(
                f"tensor {name!r:.80}: bytes {start} to {end} do not hold {dtype.name} {list(shape)} right after byte "
                f"{position} of {nbytes}",
                tensor=name,
            )
        position = end
        limits.check_dimensions(name, len(shape))
        yield Place(*names[name], dtype, shape, start, end)
    if position != nbytes:
        raise MalformedBody(f"{nbytes - position} bytes after the last tensor belong to none")


def _runs_of(places: Iterable[Place]) -> Iterator[Run]:
    """Yield the runs of tensors that follow each other without a gap."""
    for dtype, alike in groupby(places, lambda place: place.dtype):
        run = list(alike)
        first, size = run[0].start, dtype.itemsize
        tensors = [
            (section, tensor, slice((start - first) // size, (end - first) // size), shape)
            for section, tensor, _, shape, start, end in run
        ]
        yield Run(dtype, first, run[-1].end, tuple(tensors))


def _read_entry(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    if not isinstance(entry, dict):
        words = f"must be an object with dtype, shape and data_offsets, not {named(entry)}"
        raise MalformedBody(f"tensor {name!r:.80} {words}", tensor=name)
    if missing := [member for member in MEMBERS if member not in entry]:
        raise MalformedBody(f"tensor {name!r:.80} needs {' and '.join(missing)}", tensor=name)
    if others := [member for member in entry if member not in MEMBERS]:
        words = f"has the unknown member {named(others[0])}; expected dtype, shape and data_offsets"
        raise MalformedBody(f"tensor {name!r:.80} {words}", tensor=name)
    dtype = DTYPE_OF.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise MalformedBody(
            f"tensor {name!r:.80} has the dtype {named(entry['dtype'])}: convert it to float32; expected one of "
            f"{', '.join(DTYPE_OF)}",
            tensor=name,
        )
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in offsets):
        raise MalformedBody(f"tensor {name!r:.80}: its data_offsets are not two whole numbers", tensor=name)
    return dtype, checked_shape(name, entry["shape"]), offsets[0], offsets[1]


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


def _from_json(metadata: Mapping[str, str], name: str, limits: Limits) -> Any:
    """Return the value of a text in JSON."""
    if name not in metadata:
        return None
    return read_text(metadata[name].encode(), f"__metadata__ {name!r}", limits.max_json_depth)
