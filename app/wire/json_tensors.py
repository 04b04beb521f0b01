"""Tensors as JSON. A tensor is a nested list (float32), or names its dtype and shape beside flat data or base64 bytes.

The answer uses the form that the request used, tensor by tensor; one with a value that JSON cannot write (NaN, ±∞) is
answered in base64, never as `null`.
"""

import math
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import orjson

from app.errors import MalformedBody, NotAcceptable
from app.once import Once
from app.session import DTYPES
from app.step import StepAnswer, StepRequest
from app.wire.codec import (
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    NO_ROWS,
    Buffer,
    Codec,
    Limits,
    checked_grad_scale,
    checked_lr,
    checked_shape,
    checked_step,
    joined,
)
from app.wire.json_elements import FINITE, NoElements, at, elements
from app.wire.json_numbers import Cut, NumberText, read_numbers
from app.wire.json_text import loads, read_text
from app.wire.rows import checked_rows
from optim_engine.arrays import Array, Arrays
from optim_engine.fields import named

LIST, DATA, BASE64 = "list", "data", "base64"
NESTED = "nested"
"""A list that names its dtype, as only a tensor with rows may."""
ROWS = "rows"
LARGE = 1 << 16
"""Bytes of a body whose lists are not read whole."""
LONGEST_SHAPE = 1 << 12
"""Bytes."""
LARGEST_PART = 1 << 15
"""Elements that are written at a time."""
ELEMENT_BYTES = {8: 25, 4: 16, 2: 16}
"""The most that an element takes as JSON, with its comma, by its own bytes."""


class JsonTensors(Codec):
    media_type = "application/json"

    def read_step(self, body: Buffer, limits: Limits, once: Once) -> StepRequest:
        document = read_object(body, {"step", "params", "grads", "lr", "overrides", "grad_scale", "loss"}, limits)
        _leave_out_nulls(document.get("params"), document.get("grads"))
        params, params_forms = _read_tensors(document, "params", limits)
        grads, grads_forms = _read_tensors(document, "grads", limits)
        return StepRequest(
            grads=grads,
            once=once,
            rows=checked_rows(_read_rows(document), grads),
            params=params,
            step=checked_step(document.get("step")),
            lr=checked_lr(_number(document, "lr")),
            overrides=document.get("overrides"),
            grad_scale=checked_grad_scale(_number(document, "grad_scale")),
            loss=_number(document, "loss"),
            forms={**grads_forms, **params_forms},
        )

    def write_answer(self, answer: StepAnswer, forms: Mapping[str, str]) -> list[Buffer]:
        kept = answer.kept
        rest = {
            "skipped": answer.skipped,
            "digest": kept.digest,
            "params_digest": kept.params_digest,
            "metrics": kept.metrics,
            "warnings": kept.warnings,
        }
        if answer.preview:
            rest["preview"] = True
        params = [b'"params":', *_members(answer.params, forms, answer.rows), b","] if answer.params else []
        return joined([b'{"step":%d,' % kept.step, *params, _dumps(rest)[1:]])

    def read_params(self, body: Buffer, limits: Limits) -> dict[str, Array]:
        document = read_object(body, {"params"}, limits)
        if not document:
            raise MalformedBody("`params` is needed: an object with a tensor for each name")
        return _read_tensors(document, "params", limits)[0]

    def write_params(self, params: Arrays, rows: Arrays = NO_ROWS) -> list[Buffer]:
        return joined([b'{"params":', *_members(params, {}, rows), b"}"])

    def check_answer(self, arrays: Iterable[Array], limits: Limits) -> None:
        nbytes = sum(array.size * ELEMENT_BYTES[array.dtype.itemsize] for array in arrays)
        if nbytes > limits.max_json_bytes:
            raise NotAcceptable(
                f"as JSON the parameters may have {nbytes} bytes, the limit is {limits.max_json_bytes}: send `Accept: "
                "application/vnd.safetensors`, or raise OPTIM_MAX_JSON_BYTES",
                limit=limits.max_json_bytes,
            )


def read_json(body: Buffer, limits: Limits) -> Any:
    """Return any JSON value. Raises `MalformedBody`."""
    return read_text(body, "the body", limits.max_json_depth)


def read_object(body: Buffer, keys: set[str], limits: Limits) -> dict[str, Any]:
    """Return a JSON object with only those keys; in a large one, long lists of numbers are left unread."""
    document = read_json(body, limits) if len(body) < LARGE else _read_large(memoryview(body), limits)
    if not isinstance(document, dict):
        raise MalformedBody("the body must be a JSON object")
    if unknown := document.keys() - keys:
        raise MalformedBody(f"unknown member {min(unknown)!r:.80}; expected one of {', '.join(sorted(keys))}")
    return document


def _read_large(body: memoryview, limits: Limits) -> Any:
    cut = Cut(body)
    if cut.depth > limits.max_json_depth:
        raise MalformedBody(f"the body has more than {limits.max_json_depth} lists and objects in one another")
    document = cut.put_back(read_text(cut.rest, "the body", limits.max_json_depth, limits.most_parts))
    return {name: _plain(value) for name, value in document.items()} if isinstance(document, dict) else document


def _plain(value: Any) -> Any:
    """Return a value that is no tensor: a list that was cut out is read if it is short enough for a shape."""
    if not isinstance(value, NumberText):
        return value
    return loads(value.text) if len(value.text) < LONGEST_SHAPE else [None] * (MAX_DIMENSIONS + 1)


def _leave_out_nulls(params: Any, grads: Any) -> None:
    """Leave out each tensor whose gradient is null as a whole, as PyTorch does with `None`."""
    if isinstance(grads, dict) and None in grads.values():
        for name in [name for name, gradient in grads.items() if gradient is None]:
            del grads[name]
            if isinstance(params, dict):
                params.pop(name, None)


def _read_tensors(document: dict[str, Any], section: str, limits: Limits) -> tuple[dict[str, Array], dict[str, str]]:
    written = document.get(section, {})
    if not isinstance(written, dict):
        raise MalformedBody(f"`{section}` must be an object: a tensor for each name")
    limits.check_count(len(written))
    arrays, forms = {}, {}
    for name, value in written.items():
        limits.check_name(name)
        arrays[name], forms[name] = _read_tensor(f"{section}/{name}", value, special=section == "grads")
        limits.check_dimensions(f"{section}/{name}", arrays[name].ndim)
    return arrays, forms


def _read_tensor(name: str, value: Any, *, special: bool) -> tuple[Array, str]:
    if not isinstance(value, dict):
        return _from_numbers(name, value, DTYPES["float32"], special), LIST
    if special and ROWS in value:
        value = {member: value[member] for member in value if member != ROWS}
        if not value:
            raise MalformedBody(f"tensor {name!r:.80} has rows and no data", tensor=name)
        if value.keys() == {DATA} or value.keys() == {"dtype", DATA}:
            form = NESTED if "dtype" in value else LIST
            return _from_numbers(name, value[DATA], _read_dtype(name, value.get("dtype", "float32")), special), form
    if value.keys() not in ({"dtype", "shape", DATA}, {"dtype", "shape", BASE64}):
        raise MalformedBody(f"tensor {name!r:.80} {_wrong_members(name, value)}", tensor=name)
    dtype = _read_dtype(name, value["dtype"])
    shape = checked_shape(name, _plain(value["shape"]))
    form = DATA if "data" in value else BASE64
    if form == DATA:
        flat = _from_numbers(name, value[DATA], dtype, special)
    else:
        flat = _from_base64(name, value[BASE64], dtype)
    if flat.ndim != 1:
        raise MalformedBody(f"tensor {name!r:.80}: its data must be one flat list of numbers", tensor=name)
    if flat.size != math.prod(shape):
        raise MalformedBody(
            f"tensor {name!r:.80}: {flat.size} elements do not make the shape {list(shape)}", tensor=name
        )
    return flat.reshape(shape), form


def _read_dtype(name: str, written: Any) -> np.dtype[Any]:
    dtype = _plain(written)
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise MalformedBody(
            f"tensor {name!r:.80} has the dtype {named(dtype)}: convert it to float32; expected one of "
            f"{', '.join(DTYPES)}",
            tensor=name,
        )
    return DTYPES[dtype]


def _read_rows(document: dict[str, Any]) -> dict[str, Array]:
    """Return the indices of the rows of each gradient that names some."""
    gradients = document.get("grads", {}).items()
    return {name: _indices(f"rows/{name}", g[ROWS]) for name, g in gradients if isinstance(g, dict) and ROWS in g}


def _indices(name: str, value: Any) -> Array:
    read = read_numbers if isinstance(value, NumberText) else elements
    with suppress(NoElements):
        numbers = read(value, DTYPES["float64"], special=False)
        if ((numbers == np.floor(numbers)) & (np.abs(numbers) < MAX_ELEMENTS)).all():
            return numbers.astype(np.int64)
    raise MalformedBody(f"tensor {name!r:.80} must be one flat list of whole numbers, the indices of rows", tensor=name)


def _wrong_members(name: str, members: Collection[str]) -> str:
    """Return what is wrong with the members of a tensor, in words that follow its name."""
    others = [member for member in members if member not in ("dtype", "shape", DATA, BASE64)]
    if others and len(others) == len(members):
        path = f"{name.partition('/')[2]}/{others[0]}"
        return f"is an object with the member {named(others[0])}; names are flat: write {named(path)}"
    if others and others[0] in ("at", "scale"):
        return f"has the member {named(others[0])}: compressed gradients are read from safetensors alone"
    if others:
        return f"has the unknown member {named(others[0])}; expected dtype, shape, and either data or base64"
    if DATA in members and BASE64 in members:
        return "has both data and base64: send one of them"
    missing = [member for member in ("dtype", "shape") if member not in members]
    if DATA not in members and BASE64 not in members:
        missing.append("data or base64")
    return f"needs {' and '.join(missing)}"


def _from_numbers(name: str, value: Any, dtype: np.dtype[Any], special: bool) -> Array:
    """Return a (nested) list of numbers, or one number, as an array.

    In gradients, which may be `special`, a number beyond the dtype's range is an infinity.
    """
    read = read_numbers if isinstance(value, NumberText) else elements
    try:
        array = read(value, dtype, special=special)
    except NoElements as error:
        raise MalformedBody(f"tensor {name!r:.80} {error}", tensor=name) from None
    if not special and not _is_finite(array):
        place = at(int(np.isfinite(array.reshape(-1)).argmin()), array.shape)
        raise MalformedBody(
            f"tensor {name!r:.80} has a number out of the range of {dtype.name}{place}: {FINITE}", tensor=name
        )
    return array


def _from_base64(name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    try:
        data = b64decode(value, validate=True)
        return np.frombuffer(data, np.uint8).view(dtype)
    except (Base64Error, TypeError, ValueError):
        raise MalformedBody(
            f"tensor {name!r:.80}: base64 must be text for a whole number of {dtype.name} elements", tensor=name
        ) from None


def _write_tensor(array: Array, form: str | None) -> Any:
    """Return a tensor in that form; without one, a list for float32 and flat data with its dtype for others.

    A list is never of another dtype, even if the parameter came as a list and its gradient did not.

    A list cannot say the shape of an array that has no rows, but has columns.
    """
    if form is None and 0 not in array.shape[:-1]:
        form = LIST
    if form is None or (form == LIST and array.dtype != np.float32):
        form = DATA
    if form == BASE64 or not _is_finite(array):
        return {**_dtype_and_shape(array), "base64": b64encode(np.ascontiguousarray(array).tobytes()).decode()}
    if form == DATA:
        return {**_dtype_and_shape(array), "data": _numbers(array.reshape(-1))}
    return _numbers(array)


def _write_rows(rows: Array, array: Array, form: str | None) -> dict[str, Any]:
    """Return rows of a tensor in that form, or as `_write_tensor` chooses; lists say their dtype, if not float32."""
    if form in (DATA, BASE64) or 0 in array.shape[:-1] or not _is_finite(array):
        return {ROWS: rows, **_write_tensor(array, BASE64 if form == BASE64 else DATA)}
    dtype = {} if form != NESTED and array.dtype == np.float32 else {"dtype": array.dtype.name}
    return {ROWS: rows, **dtype, DATA: _numbers(array)}


def _members(params: Arrays, forms: Mapping[str, str], rows: Arrays) -> Iterator[bytes]:
    """Yield the parts of an object of tensors, some of which are of those rows alone."""
    before = b"{"
    for name, array in params.items():
        yield before + _dumps(name) + b":"
        form = forms.get(name)
        yield from _text_of(_write_rows(rows[name], array, form) if name in rows else _write_tensor(array, form))
        before = b","
    yield b"}" if params else b"{}"


def _text_of(tensor: Any) -> Iterator[bytes]:
    """Yield the text of a written tensor in parts, because writing JSON blocks all other threads."""
    if isinstance(tensor, dict):
        before = b"{"
        for member, value in tensor.items():
            yield before + _dumps(member) + b":"
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
        yield _dumps(tensor)


def _is_finite(array: Array) -> bool:
    with np.errstate(invalid="ignore"):  # for bfloat16's signalling NaN
        return bool(np.isfinite(array).all())


def _dtype_and_shape(array: Array) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "shape": array.shape}


def _numbers(array: Array) -> Any:
    """Return an array for orjson, which writes the fewest digits that read back as the same number."""
    wide = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    return np.ascontiguousarray(wide) if wide.ndim else wide[()]


_NUMPY = orjson.OPT_SERIALIZE_NUMPY


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=_NUMPY)


def _number(document: dict[str, Any], name: str) -> float | None:
    """Return a number, also from a string that stands for one that JSON cannot write."""
    value = document.get(name)
    if value is None:
        return None
    if value in ("NaN", "Infinity", "-Infinity") or type(value) in (int, float):
        return float(value)
    raise MalformedBody(f"`{name}` must be a number, not {named(value)}")
