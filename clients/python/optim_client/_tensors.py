"""A zero-copy codec of safetensors: named arrays to bytes and back. Knows no HTTP.

The `safetensors` library is not used: it copies, silently writes arrays that are not contiguous wrongly, drops the
metadata or reorders it each time (a repeated step must be the same bytes), and lacks bfloat16.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optim_client._buffers import Buffers
from optim_client._halves import Loss, narrow
from optim_client._protocol import Buffer

try:
    from ml_dtypes import bfloat16
except ImportError:
    BFLOAT16: dict[str, Any] = {}
else:
    BFLOAT16 = {"BF16": np.dtype(bfloat16)}

DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    **BFLOAT16,
}
INTEGERS: Mapping[str, np.dtype[Any]] = {"I64": np.dtype("<i8"), "I8": np.dtype("i1")}
"""The dtypes of indices, and of gradients that have scales."""
READ = {**DTYPES, **INTEGERS}
CODE_OF = {dtype: code for code, dtype in READ.items()}
FLOATS = frozenset(DTYPES.values())
CODES: Mapping[str, str] = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

NATIVE = frozenset({np.dtype("f8"), np.dtype("f4"), np.dtype("f2")})
"""The dtypes whose arrays are buffers themselves."""
SMALL_BYTES = 1 << 12
"""Bytes from which on a view of an array costs less than a copy."""
METADATA = '{"__metadata__":{'
"""The start of a header that has its metadata first."""
LONGEST_KEPT = 1 << 20
"""Characters of the longest header that is kept as read: about 10,000 tensors."""
MOST_KEPT = 8

_BUFFERS = Buffers()
_JSON = json.JSONDecoder()
EXTRA = "pip install ml_dtypes"

Arrays = dict[str, NDArray[Any]]
ArraysLike = Mapping[str, ArrayLike]
GradsLike = Mapping[str, ArrayLike | None]
NOTHING: Mapping[str, Arrays] = {}


def encode(
    tensors: Mapping[str, ArraysLike], metadata: Mapping[str, str], others: Mapping[str, Arrays] = NOTHING
) -> list[Buffer]:
    """Return named tensors by kind (`{"params": {…}, "grads": {…}}`) as buffers: the same bytes for the same content.

    `others` has contiguous arrays by kind, which may be of int64 and int8. Wide dtypes come first, so that every tensor
    is aligned. Contiguous arrays are not copied, except small ones: the buffers are views of them, and change with
    them. Raises `TypeError`.
    """
    arrays = [as_array(kind, name, value) for kind in tensors for name, value in tensors[kind].items()]
    arrays += [array for kind in others for array in others[kind].values()]
    names = (*[(kind, *tensors[kind]) for kind in tensors], *[(kind, *others[kind]) for kind in others])
    header = _written(names, tuple([x.dtype for x in arrays]), tuple([x.shape for x in arrays]))
    before = f'{{"__metadata__":{_text_of(dict(metadata))}'.encode()
    text = before + header.rest
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *_buffers([arrays[i] for i in header.order])]


class _Written(NamedTuple):
    """A header as text behind its metadata, and the order of the arrays' bytes."""

    rest: bytes
    order: Sequence[int]


@lru_cache(MOST_KEPT)
def _written(
    kinds: tuple[tuple[str, ...], ...], dtypes: tuple[np.dtype[Any], ...], shapes: tuple[tuple[int, ...], ...]
) -> _Written:
    """Write the header of arrays, which a training loop sends again and again. Each of `kinds` is a kind and names."""
    names = [f"{kind}/{name}" for kind, *below in kinds for name in below]
    order = in_order(names, dtypes)
    entries, end = dict[str, Any](), 0
    for i in order:
        start, end = end, end + math.prod(shapes[i]) * dtypes[i].itemsize
        code = CODE_OF.get(dtypes[i]) or CODES[dtypes[i].name]
        entries[names[i]] = {"dtype": code, "shape": shapes[i], "data_offsets": (start, end)}
    text = _text_of(entries)
    return _Written(("," * (len(entries) > 0) + text[1:]).encode(), order)


def in_order(names: Sequence[str], dtypes: Sequence[np.dtype[Any]]) -> list[int]:
    """Return the numbers of the arrays in the order of their bytes in a body: wide dtypes first, then by name."""
    return sorted(range(len(names)), key=lambda i: (-dtypes[i].itemsize, names[i]))


def _text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _buffers(arrays: Iterable[NDArray[Any]]) -> Iterator[Buffer]:
    """Yield the arrays' bytes, small neighbours as one copy: a view of each takes longer than its bytes."""
    for small, alike in groupby(arrays, lambda array: array.nbytes < SMALL_BYTES and array.dtype in NATIVE):
        if small:
            yield b"".join(cast("Iterable[Buffer]", alike))
        else:
            yield from (array.reshape(-1).view("u1").data for array in alike)


def narrowed(grads: ArraysLike, wire_dtype: str, lost: dict[str, Loss] | None = None) -> Arrays:
    """Return the arrays, those of float32 rounded to that dtype: to nearest even, and to infinity beyond its range.

    `lost` gets, by name, the counts of elements that became zero or infinite.
    """
    dtype = DTYPES.get(CODES[wire_dtype])
    if dtype is None:
        raise ImportError(f"the session's wire_dtype is {wire_dtype}, which needs ml_dtypes: {EXTRA}")
    arrays = {name: as_array("grads", name, value) for name, value in grads.items()}
    for name, array in arrays.items():
        if _is_float32(array):
            loss = None if lost is None else Loss()
            arrays[name] = _room(array, dtype)
            narrow(array, arrays[name], loss)
            if lost is not None and loss:
                lost[name] = loss
    return arrays


def widened(params: Arrays, grads: ArraysLike) -> Arrays:
    """Return the parameters, as float32 where the gradient is float32, which is exact."""
    return {
        name: _cast(array, DTYPES["F32"]) if name in grads and _is_float32(np.asarray(grads[name])) else array
        for name, array in params.items()
    }


def _cast(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    cast = _room(array, dtype)
    cast[...] = array
    return cast


def _room(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return memory for the array in another dtype."""
    return _BUFFERS.take(array.size * dtype.itemsize).view(dtype).reshape(array.shape)


def _is_float32(array: NDArray[Any]) -> bool:
    return array.dtype.name == "float32"


def decode(body: Buffer, kind: str) -> tuple[Arrays, dict[str, str]]:
    """Return the tensors of one kind, as writable arrays, and the metadata. Raises `ValueError`.

    The arrays are views of the body, or copies where the body is read-only.
    """
    return _decoded(body, f"{kind}/")


def decode_all(body: Buffer) -> tuple[Arrays, dict[str, str]]:
    """Return all tensors, named `kind/name`, and the metadata, as `decode` does. Raises `ValueError`."""
    return _decoded(body, "")


def _decoded(body: Buffer, prefix: str) -> tuple[Arrays, dict[str, str]]:
    text, data = _split(body)
    header = _read(text, len(data), prefix)
    arrays: Arrays = {}
    for run in header.runs:
        vector = data[run.start : run.end].view(run.dtype)
        if not vector.flags.aligned:
            vector = vector.copy()
        for name, part, shape in run.tensors:
            arrays[name] = vector[part] if len(shape) == 1 else vector[part].reshape(shape)
    return arrays, header.metadata or {}


class _Placed(NamedTuple):
    """A tensor of the header, with the place of its bytes."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    place: tuple[int, int]


class _Run(NamedTuple):
    """Tensors of one dtype that lie side by side, from byte `start` to `end`: their names, elements and shapes."""

    dtype: np.dtype[Any]
    start: int
    end: int
    tensors: Sequence[tuple[str, slice, tuple[int, ...]]]


class _Header(NamedTuple):
    """A header as read; its runs may be kept."""

    metadata: dict[str, str] | None
    runs: Sequence[_Run]


def _split(body: Buffer) -> tuple[str, NDArray[np.uint8]]:
    """Return the text of the header, and the bytes after it."""
    whole = np.frombuffer(body, np.uint8)
    size = int.from_bytes(body[:8], "little")
    if len(whole) < 8 or size > len(whole) - 8:
        raise ValueError(f"a header of {size} bytes does not fit a buffer of {len(whole)}")
    try:
        text = bytes(body[8 : 8 + size]).decode()
    except ValueError as error:
        raise ValueError(f"the header is not JSON: {error}") from error
    data = whole[8 + size :]
    return text, data if data.flags.writeable else data.copy()


def _read(text: str, nbytes: int, prefix: str) -> _Header:
    """Read a header. From step to step only its metadata changes, so the rest of it is kept as read."""
    if text.startswith(METADATA) and len(text) <= LONGEST_KEPT:
        with suppress(ValueError, RecursionError):  # to be said of the whole
            metadata, end = _JSON.raw_decode(text, len(METADATA) - 1)
            if text[end : end + 1] == ",":
                rest = _kept("{" + text[end + 1 :].rstrip(" "), nbytes, prefix)
                if rest.metadata is None:
                    return _Header(metadata, rest.runs)
    return _parsed(text, nbytes, prefix)


def _parsed(text: str, nbytes: int, prefix: str) -> _Header:
    """Read the header of `nbytes` bytes of tensors; its runs have those whose names begin with `prefix`."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"expected an object as header, not {header!r:.80}")
    has_metadata = "__metadata__" in header
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError(f"expected an object as metadata, not {metadata!r:.80}")
    tensors = sorted((_placed(name, header[name]) for name in header), key=lambda tensor: tensor.place)
    end = 0
    for tensor in tensors:
        if tensor.place[0] != end:
            raise ValueError(f"{tensor.name} begins at {tensor.place[0]}; expected {end}, where the one before it ends")
        end = tensor.place[1]
    if end != nbytes:
        raise ValueError(f"the tensors end at {end}; expected {nbytes}, the buffer's end")
    return _Header(metadata if has_metadata else None, list(_runs(tensors, prefix)))


_kept = lru_cache(MOST_KEPT)(_parsed)


def _runs(tensors: Sequence[_Placed], prefix: str) -> Iterator[_Run]:
    """Yield the runs of tensors whose names begin with `prefix`, by the rest of their names."""
    for (dtype, wanted), alike in groupby(tensors, lambda tensor: (tensor.dtype, tensor.name.startswith(prefix))):
        run = list(alike) if wanted else []
        if run:
            first, size = run[0].place[0], dtype.itemsize
            parts = [slice((start - first) // size, (end - first) // size) for *_, (start, end) in run]
            named = [(x.name.removeprefix(prefix), part, x.shape) for x, part in zip(run, parts, strict=True)]
            yield _Run(dtype, first, run[-1].place[1], named)


def _placed(name: str, tensor: Any) -> _Placed:
    match tensor:
        case {"dtype": str(code), "shape": [*shape], "data_offsets": [int(start), int(end)]} if all(
            type(length) is int and length >= 0 for length in shape
        ):
            if code == "BF16" and code not in DTYPES:
                raise ImportError(f"{name} is bfloat16, which needs ml_dtypes: {EXTRA}")
            if code not in READ:
                raise ValueError(f"unknown dtype {code!r} of {name}; expected one of {', '.join(READ)}")
            if start < 0 or end - start != math.prod(shape) * READ[code].itemsize:
                raise ValueError(f"{name} has {end - start} bytes, which do not fit {code} {shape}")
            return _Placed(name, READ[code], tuple(shape), (start, end))
    raise ValueError(f"malformed entry {name!r} in the header: {tensor!r:.120}")


def as_array(kind: str, name: str, value: ArrayLike) -> NDArray[Any]:
    """Return a contiguous, little-endian array of the same shape. `ascontiguousarray` would make a scalar a vector."""
    if not isinstance(name, str):
        raise TypeError(f"a tensor's name must be a string, not {name!r}")
    if type(value) is np.ndarray and value.dtype in FLOATS and value.flags.c_contiguous:
        return value
    if getattr(value, "requires_grad", False) is True:
        raise TypeError(
            f"{kind}[{name!r}] requires grad, so NumPy cannot read it: pass it with .detach(), for example "
            "{name: p.detach() for name, p in model.named_parameters()}"
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch, of a tensor that requires grad
        raise TypeError(f"{kind}[{name!r}] cannot be converted to a NumPy array: {error}") from error
    if array.dtype.hasobject:
        raise TypeError(
            f"{kind}[{name!r}] has dtype object, because it is {type(value).__name__}; expected a tree of mappings, "
            "lists and tuples, with float32 or other arrays as its leaves"
        )
    if array.dtype.name not in CODES:
        raise TypeError(
            f"{kind}[{name!r}] has unknown dtype {array.dtype}; expected one of float64, float32, float16, bfloat16: "
            "convert it first, for example with .astype('float32')"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
