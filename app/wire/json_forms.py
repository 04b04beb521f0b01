"""The forms of a tensor in JSON, and tensors written in them.

A tensor with a value that JSON cannot write (NaN, ±∞) is written in base64, never as `null`.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from optim_engine.arrays import Array, Arrays

LIST, DATA, BASE64 = "list", "data", "base64"
NESTED = "nested"
"""A list that names its dtype, as only a tensor with rows may."""
ROWS = "rows"
LARGEST_PART = 1 << 15
"""Elements that are written at a time."""


def members(params: Arrays, forms: Mapping[str, str], rows: Arrays) -> Iterator[bytes]:
    """Yield the parts of an object of tensors, some of which are of those rows alone."""
    before = b"{"
    for name, array in params.items():
        yield before + dumps(name) + b":"
        form = forms.get(name)
        yield from _text_of(_write_rows(rows[name], array, form) if name in rows else _write_tensor(array, form))
        before = b","
    yield b"}" if params else b"{}"


_NUMPY = orjson.OPT_SERIALIZE_NUMPY


def dumps(value: Any) -> bytes:
    """Return JSON, in which arrays may stand."""
    return orjson.dumps(value, option=_NUMPY)


def _write_tensor(array: Array, form: str | None) -> Any:
    """Return a tensor in that form; without one, a list for float32 and flat data with its dtype for others.

    A list is never of another dtype, even if the parameter came as a list and its gradient did not. It cannot say the
    shape of an array that has no rows, but has columns.
    """
    if form is None and 0 not in array.shape[:-1]:
        form = LIST
    if form is None or (form == LIST and array.dtype != np.float32):
        form = DATA
    if form == BASE64 or not is_finite(array):
        return {**_dtype_and_shape(array), "base64": b64encode(np.ascontiguousarray(array).tobytes()).decode()}
    if form == DATA:
        return {**_dtype_and_shape(array), "data": _numbers(array.reshape(-1))}
    return _numbers(array)


def _write_rows(rows: Array, array: Array, form: str | None) -> dict[str, Any]:
    """Return rows of a tensor in that form, or as `_write_tensor` chooses; lists say their dtype, if not float32."""
    if form in (DATA, BASE64) or 0 in array.shape[:-1] or not is_finite(array):
        return {ROWS: rows, **_write_tensor(array, BASE64 if form == BASE64 else DATA)}
    dtype = {} if form != NESTED and array.dtype == np.float32 else {"dtype": array.dtype.name}
    return {ROWS: rows, **dtype, DATA: _numbers(array)}


def _text_of(tensor: Any) -> Iterator[bytes]:
    """Yield the text of a written tensor in parts, because writing JSON blocks all other threads."""
    if isinstance(tensor, dict):
        before = b"{"
        for member, value in tensor.items():
            yield before + dumps(member) + b":"
            yield from _text_of(value)
            before = b","
        yield b"}"
    elif isinstance(tensor, np.ndarray) and tensor.size > LARGEST_PART:
        rows = max(1, LARGEST_PART * len(tensor) // tensor.size)
        for start in range(0, len(tensor), rows):
            yield b"," if start else b"["
            for text in _text_of(tensor[start] if rows == 1 else tensor[start : start + rows]):
                yield text if rows == 1 else text[1:-1]
        yield b"]"
    else:
        yield dumps(tensor)


def is_finite(array: Array) -> bool:
    """Return whether JSON has numbers for all elements."""
    with np.errstate(invalid="ignore"):  # for bfloat16's signalling NaN
        return bool(np.isfinite(array).all())


def _dtype_and_shape(array: Array) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "shape": array.shape}


def _numbers(array: Array) -> Any:
    """Return an array for orjson, which writes the fewest digits that read back as the same number."""
    wide = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    return np.ascontiguousarray(wide) if wide.ndim else wide[()]
