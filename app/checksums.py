"""Checksums of parameters: of each tensor's bytes, of its numbers, and the digest of all that a step answers.

Knows no session and no wire format. The checksum is XXH3: it tells arrays apart, and is no protection against forgery.
Arrays are contiguous, in C order.
"""

from array import array
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import orjson
import xxhash

from optim_engine import Layout
from optim_engine.arrays import Array, Arrays, flat

LARGEST_LISTED = 1 << 22
"""Elements: more do not come as a JSON list, which has two bytes for each. Lists alone may lose the sign of -0."""
LARGEST_JOINED = 1 << 18
"""Elements of arrays that are looked through as one."""
HEADERS_KEPT = 8
"""Of one layout: steps that name some of the tensors, now these, now those, need one each."""

_checksum: Callable[[Any], int] = xxhash.xxh3_64_intdigest


class Header(NamedTuple):
    """Names, dtypes and shapes as bytes, and the names in their order."""

    written: bytes
    names: list[str]


_HEADERS: WeakKeyDictionary[Layout, dict[tuple[Any, ...], Header]] = WeakKeyDictionary()


def checksums_of(arrays: Arrays) -> dict[str, int]:
    """Return the checksum of each array's bytes."""
    return dict(zip(arrays, map(_checksum, arrays.values()), strict=True))


def number_checksums_of(arrays: Arrays) -> dict[str, int]:
    """Return the checksum of each array's numbers: 0 and -0 are one, and so is every NaN.

    It is the checksum of the bytes where an array has no -0, and no NaN but NumPy's.
    """
    found = {}
    for alike in _by_dtype(arrays):
        together = _canonical(_joined(alike)).view(np.uint8).data
        end = 0
        for name, x in alike.items():
            start, end = end, end + x.nbytes
            found[name] = _checksum(together[start:end])
    return found


@np.errstate(invalid="ignore")
def _canonical(vector: Array) -> Array:
    numbers: Array = vector + vector.dtype.type(0)
    numbers[np.isnan(numbers)] = np.nan
    return numbers


def with_negative_zeros(arrays: Arrays) -> list[str]:
    """Return the names of the arrays that hold -0 and may come as JSON lists."""
    found = []
    for alike in _by_dtype(arrays):
        many = sum([x.size for x in alike.values()]) > LARGEST_JOINED
        if many or _has_negative_zero(_joined(alike)):
            found += [name for name, x in alike.items() if x.size <= LARGEST_LISTED and _has_negative_zero(flat(x))]
    return found


def _by_dtype(arrays: Arrays) -> list[Arrays]:
    dtypes = {x.dtype for x in arrays.values()}
    if len(dtypes) == 1:
        return [arrays]
    return [{name: x for name, x in arrays.items() if x.dtype == dtype} for dtype in dtypes]


def _joined(alike: Arrays) -> Array:
    """Return all numbers of the arrays, which are of one dtype, as one vector: NumPy's way takes five times as long."""
    arrays: list[Any] = list(alike.values())
    return np.frombuffer(b"".join(arrays), arrays[0].dtype)


def _has_negative_zero(vector: Array) -> bool:
    """Return whether -0 is in it: as an integer of its size, it is the smallest of all."""
    kind = f"i{vector.dtype.itemsize}"
    return vector.size > 0 and int(vector.view(kind).min()) == np.iinfo(kind).min


def params_digest(params: Arrays, checksums: Mapping[str, int], layout: Layout | None) -> str:
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
    names = sorted(params)
    written = orjson.dumps([(name, params[name].dtype.name, params[name].shape) for name in names])
    return Header(written, names)
