"""Tensors as JSON. A tensor is a nested list (float32), or names its dtype and shape beside flat data or base64 bytes.

The answer uses the form that the request used, tensor by tensor, where that can say it (`json_forms`).
"""

import math
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

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
    checked_base_step,
    checked_epoch,
    checked_grad_scale,
    checked_lr,
    checked_shape,
    checked_step,
    checked_weight,
    joined,
)
from app.wire.json_elements import FINITE, NoElements, at, elements
from app.wire.json_forms import BASE64, DATA, LIST, NESTED, ROWS, dumps, is_finite, members
from app.wire.json_numbers import Cut, NumberText, read_numbers
from app.wire.json_text import loads, read_text
from app.wire.rows import checked_rows
from app.workers.push import Upload
from optim_engine.arrays import Array, Arrays
from optim_engine.fields import named

LARGE = 1 << 16
"""Bytes of a body whose lists are not read whole."""
LONGEST_SHAPE = 1 << 12
"""Bytes."""
ELEMENT_BYTES = {8: 25, 4: 16, 2: 16}
"""The most that an element takes as JSON, with its comma, by its own bytes."""


class JsonTensors(Codec):
    media_type = "application/json"

    def read_step(self, body: Buffer, limits: Limits, once: Once) -> StepRequest:
        document = read_object(body, {"step", "params", "grads", "lr", "overrides", "grad_scale", "loss"}, limits)
        _leave_out_nulls(document.get("params"), document.get("grads"))
        params, params_forms = _read_tensors(document, "params", limits)
        given = _read_gradients(document, limits)
        return StepRequest(
            once=once,
            params=params,
            step=checked_step(document.get("step")),
            lr=checked_lr(_number(document, "lr")),
            overrides=document.get("overrides"),
            **given | {"forms": {**given["forms"], **params_forms}},
        )

    def read_contribution(self, body: Buffer, limits: Limits, once: Once) -> Upload:
        document = read_object(body, {"grads", "grad_scale", "loss", "epoch", "weight", "base_step"}, limits)
        _leave_out_nulls(None, document.get("grads"))
        return Upload(
            StepRequest(once=once, **_read_gradients(document, limits)),
            checked_epoch(document.get("epoch")),
            checked_weight(_number(document, "weight")),
            checked_base_step(document.get("base_step")),
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
        if answer.staleness is not None:
            rest["staleness"] = answer.staleness
        params = [b'"params":', *members(answer.params, forms, answer.rows), b","] if answer.params else []
        return joined([b'{"step":%d,' % kept.step, *params, dumps(rest)[1:]])

    def read_params(self, body: Buffer, limits: Limits) -> dict[str, Array]:
        document = read_object(body, {"params"}, limits)
        if not document:
            raise MalformedBody("`params` is needed: an object with a tensor for each name")
        return _read_tensors(document, "params", limits)[0]

    def write_params(self, params: Arrays, rows: Arrays = NO_ROWS) -> list[Buffer]:
        return joined([b'{"params":', *members(params, {}, rows), b"}"])

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


def _read_gradients(document: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the gradients of a body as a step has them, and their forms."""
    grads, forms = _read_tensors(document, "grads", limits)
    return {
        "grads": grads,
        "rows": checked_rows(_read_rows(document), grads),
        "grad_scale": checked_grad_scale(_number(document, "grad_scale")),
        "loss": _number(document, "loss"),
        "forms": forms,
    }


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
    if not special and not is_finite(array):
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


def _number(document: dict[str, Any], name: str) -> float | None:
    """Return a number, also from a string that stands for one that JSON cannot write."""
    value = document.get(name)
    if value is None:
        return None
    if value in ("NaN", "Infinity", "-Infinity") or type(value) in (int, float):
        return float(value)
    raise MalformedBody(f"`{name}` must be a number, not {named(value)}")
