"""Checksums of a tensor's bytes and of its numbers, and the digest of all parameters that a step answers.

Knows no session and no wire format. The checksum is XXH3, which detects changes but not forgery. Arrays are contiguous,
in C order.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import orjson
import xxhash

from optim_engine import Layout
from optim_engine.arrays import Array, Arrays, cut, flat

LARGEST_LISTED = 1 << 22
"""The most elements of a JSON list, which has two bytes for each. Only lists may lose the sign of -0."""
LARGEST_JOINED = 1 << 18
"""The most elements of an array that is joined with others, to check them in one pass."""
HEADERS_KEPT = 8
"""The most headers kept for one layout: steps with different subsets of the tensors need one each."""

_checksum: Callable[[Any], int] = xxhash.xxh3_64_intdigest


class Header(NamedTuple):
    """The names, dtypes and shapes as bytes, and the names in their order."""

    written: bytes
    names: list[str]


_HEADERS: WeakKeyDictionary[Layout, dict[tuple[Any, ...], Header]] = WeakKeyDictionary()


def checksums_of(arrays: Arrays) -> dict[str, int]:
    """Return the checksum of each array's bytes."""
    return {name: _checksum(x) for name, x in arrays.items()}


def new_checksum() -> Any:
    """Return a hash that can be updated; as an integer it is the checksum of an array's bytes."""
    return xxhash.xxh3_64()


def number_checksums_of(arrays: Arrays) -> dict[str, int]:
    """Return the checksum of each array's numbers: it treats 0 and -0 as equal, and all NaN as equal.

    It equals the checksum of the bytes if an array has no -0, and no NaN except NumPy's own.
    """
    found = {name: _number_checksum(x) for name, x in arrays.items() if x.size > LARGEST_JOINED}
    small = {name: x for name, x in arrays.items() if x.size <= LARGEST_JOINED}
    for alike in _by_dtype(small):
        for some in _batches(alike):
            together = _canonical(_joined(some)).view(np.uint8).data
            end = 0
            for name, x in some.items():
                start, end = end, end + x.nbytes
                found[name] = _checksum(together[start:end])
    return {name: found[name] for name in arrays}


def _number_checksum(x: Array) -> int:
    """Return the checksum of a large array's numbers, computed in parts: one whole copy would block every thread."""
    checksum = xxhash.xxh3_64()
    for part in cut(x.size, LARGEST_JOINED):
        checksum.update(_canonical(flat(x)[part]).view(np.uint8).data)
    return checksum.intdigest()


def _batches(alike: Arrays) -> Iterator[Arrays]:
    """Yield the arrays in batches of up to twice `LARGEST_JOINED` elements."""
    batch, size = dict[str, Array](), 0
    for name, x in alike.items():
        batch[name] = x
        size += x.size
        if size >= LARGEST_JOINED:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


@np.errstate(invalid="ignore")
def _canonical(vector: Array) -> Array:
    numbers: Array = vector + vector.dtype.type(0)
    numbers[np.isnan(numbers)] = np.nan
    return numbers


def with_negative_zeros(arrays: Arrays) -> list[str]:
    """Return the names of the arrays that hold -0 and are small enough for JSON lists."""
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
    """Return all arrays of one dtype as one vector; NumPy's own `concatenate` takes five times as long."""
    arrays: list[Any] = list(alike.values())
    return np.frombuffer(b"".join(arrays), arrays[0].dtype)


def _has_negative_zero(vector: Array) -> bool:
    """Return whether the vector has a -0, which is the smallest integer of its size."""
    nbytes = vector.dtype.itemsize
    return vector.size > 0 and int(vector.view(f"i{nbytes}").min()) == -(1 << 8 * nbytes - 1)


def params_digest(params: Arrays, checksums: Mapping[str, int], layout: Layout | None) -> str:
    """Return 32 hexadecimal digits for names, dtypes, shapes and bytes of the parameters, in any order.

    `layout` has these tensors; `None` if unknown.
    """
    header = _header(params) if layout is None else _kept_header(params, layout)
    values = array("Q", [checksums[name] for name in header.names])
    return xxhash.xxh3_128_hexdigest(header.written + values.tobytes())


def _kept_header(params: Arrays, layout: Layout) -> Header:
    """Return the header of tensors in the layout, which fixes their shapes."""
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
