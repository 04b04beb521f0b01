"""Checksums of parameters: one of each tensor, and the digest of all that a step answers.

Knows no session and no wire format. The checksum is XXH3: it tells arrays apart, and is no protection against forgery.
"""

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import orjson
import xxhash

from optim_engine import Layout
from optim_engine.arrays import Array, Arrays, cut, flat
from optim_engine.machine import Machine

PART_BYTES = 1 << 20
"""Larger tensors are checked in parts, which threads share out."""
HEADERS_KEPT = 8
"""Of one layout: steps that name some of the tensors, now these, now those, need one each."""

_checksum: Callable[[Any], int] = xxhash.xxh3_64_intdigest


class Header(NamedTuple):
    """Names, dtypes and shapes as bytes, and the names in their order."""

    written: bytes
    names: tuple[str, ...]


_HEADERS: WeakKeyDictionary[Layout, dict[tuple[Any, ...], Header]] = WeakKeyDictionary()


def checksums_of(arrays: Arrays, machine: Machine) -> dict[str, int]:
    """Return the checksum of each array's bytes. The arrays are contiguous, in C order."""
    found = {name: _checksum(x) for name, x in arrays.items() if x.nbytes <= PART_BYTES}
    if len(found) < len(arrays):
        found |= {name: _of_parts(x, machine) for name, x in arrays.items() if x.nbytes > PART_BYTES}
    return found


def _of_parts(x: Array, machine: Machine) -> int:
    data = flat(x).view(np.uint8)
    parts = [data[part] for part in cut(data.size, PART_BYTES)]
    return _checksum(array("Q", machine.map(_checksum, parts, x.size)))


def params_digest(params: Arrays, checksums: dict[str, int], layout: Layout | None) -> str:
    """Return 32 hexadecimal digits for names, dtypes, shapes and bytes of the parameters, whatever their order.

    `layout` has these tensors; `None` where that is not known.
    """
    header = _header(params) if layout is None else _kept_header(params, layout)
    values = array("Q", [checksums[name] for name in header.names])
    return xxhash.xxh3_128_hexdigest(header.written + values.tobytes())


def _kept_header(params: Arrays, layout: Layout) -> Header:
    """Return the header of tensors that are in the layout, whose shapes are known by it."""
    headers = _HEADERS.setdefault(layout, {})
    key = (*params, *[x.dtype for x in params.values()])
    if key not in headers:
        if len(headers) >= HEADERS_KEPT:
            headers.clear()
        headers[key] = _header(params)
    return headers[key]


def _header(params: Arrays) -> Header:
    names = tuple(sorted(params))
    return Header(orjson.dumps([(name, params[name].dtype.name, params[name].shape) for name in names]), names)
