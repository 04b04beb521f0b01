"""The header of a safetensors file: read, checked, and kept as read from step to step.

Format: https://huggingface.co/docs/safetensors, "Format".
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import orjson

from app.errors import MalformedBody
from app.session import DTYPES
from app.wire.codec import Limits, checked_shape
from app.wire.json_text import loads, read_text
from optim_engine.fields import named

FLOATS = {name.replace("float", "F").upper(): dtype for name, dtype in DTYPES.items()}
"""The dtypes of tensors, by the format's names: F64, F32, F16, BF16."""
INT8, INT64 = np.dtype(np.int8), np.dtype(np.int64)
SPECIAL: Mapping[str, Mapping[str, np.dtype[Any]]] = {
    "grads": {**FLOATS, "I8": INT8},
    "rows": {"I64": INT64},
    "at": {"I64": INT64},
    "scale": {"F32": DTYPES["float32"]},
    "row_steps": {"I64": INT64},
}
"""The dtypes of the sections that have others."""
NAMES = {dtype: name for dtypes in (FLOATS, *SPECIAL.values()) for name, dtype in dtypes.items()}
"""The format's name of each dtype."""
MEMBERS = ("dtype", "shape", "data_offsets")
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

    def names_of(self, dtype: np.dtype[Any]) -> list[str]:
        """Return the names of the tensors of that dtype."""
        return [tensor for run in self.runs if run.dtype == dtype for _, tensor, _, _ in run.tensors]


def read_header(text: bytes, nbytes: int, sections: tuple[str, ...], limits: Limits) -> Header:
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
    entries = sorted(
        ((name, *_read_entry(name, names[name][0], entry)) for name, entry in header.items()),
        key=lambda entry: entry[3:],
    )
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


def _read_entry(name: str, section: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    if not isinstance(entry, dict):
        words = f"must be an object with dtype, shape and data_offsets, not {named(entry)}"
        raise MalformedBody(f"tensor {name!r:.80} {words}", tensor=name)
    if missing := [member for member in MEMBERS if member not in entry]:
        raise MalformedBody(f"tensor {name!r:.80} needs {' and '.join(missing)}", tensor=name)
    if others := [member for member in entry if member not in MEMBERS]:
        words = f"has the unknown member {named(others[0])}; expected dtype, shape and data_offsets"
        raise MalformedBody(f"tensor {name!r:.80} {words}", tensor=name)
    dtype = _read_dtype(name, section, entry["dtype"])
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in offsets):
        raise MalformedBody(f"tensor {name!r:.80}: its data_offsets are not two whole numbers", tensor=name)
    return dtype, checked_shape(name, entry["shape"]), offsets[0], offsets[1]


def _read_dtype(name: str, section: str, written: Any) -> np.dtype[Any]:
    known = SPECIAL.get(section, FLOATS)
    dtype = known.get(written) if isinstance(written, str) else None
    if dtype is None:
        convert = ": convert it to float32" if "F64" in known else ""
        raise MalformedBody(
            f"tensor {name!r:.80} has the dtype {named(written)}{convert}; expected one of {', '.join(known)}",
            tensor=name,
        )
    return dtype
