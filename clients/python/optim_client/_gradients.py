"""Gradients that are no dense arrays: some rows of a tensor, some of its elements, and int8 with scales."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optim_client._tensors import ArraysLike, as_array

BLOCK = 256
"""The elements that each of several scales is for."""


@dataclass(frozen=True, eq=False)
class Int8:
    """A gradient in int8: `values` times `scale`.

    Args:
        values: An array of int8, in the shape of the parameter.
        scale: A number, or one number for each block of 256 elements (row by row; the last block may be shorter). They
            are sent as float32.

    Example:
        scale = float(np.abs(g).max()) / 127
        session.step(params, {"w": Int8(np.rint(g / scale).astype(np.int8), scale)})
    """

    values: ArrayLike
    scale: ArrayLike


@dataclass(frozen=True, eq=False)
class TopK:
    """A gradient with some elements alone; every other one is zero.

    Args:
        indices: Indices into the flat tensor, row by row, strictly increasing.
        values: The element at each index: a vector of floats, or `Int8` of one.

    Example:
        at = np.sort(np.argpartition(np.abs(g), -k, axis=None)[-k:])
        session.step(params, {"w": TopK(at, g.reshape(-1)[at])})
    """

    indices: ArrayLike
    values: "ArrayLike | Int8"


@dataclass(frozen=True, eq=False)
class Rows:
    """A gradient of some rows of a tensor, which the session holds. A step answers the same rows of the new parameter.

    Args:
        indices: The rows' numbers, strictly increasing.
        values: A row for each index, [k, …]: floats, or `Int8` of them.

    Example:
        after = session.step(grads={"emb": Rows([3, 17], g)})
        print(after["emb"].indices, after["emb"].values)
    """

    indices: ArrayLike
    values: "ArrayLike | Int8"


SPARSE = {TopK: "at", Rows: "rows"}
"""The sections of indices."""
KINDS = frozenset({Int8, TopK, Rows})


class Parts(NamedTuple):
    """The gradients of a step in parts: `floats` as they were given, and by section the arrays of other dtypes."""

    floats: ArraysLike
    others: dict[str, dict[str, NDArray[Any]]]

    @property
    def rows(self) -> Mapping[str, NDArray[Any]]:
        """Return the indices of the rows of those gradients that have some."""
        return self.others.get("rows", {})


def parts_of(grads: Mapping[str, Any]) -> Parts:
    """Return the gradients in parts. Raises `TypeError` and `ValueError`."""
    if KINDS.isdisjoint(map(type, grads.values())):
        return Parts(grads, {})
    floats = dict[str, Any]()
    others = dict[str, dict[str, NDArray[Any]]]()
    for name, g in grads.items():
        values = g
        if isinstance(g, TopK | Rows):
            values = g.values
            others.setdefault(SPARSE[type(g)], {})[name] = _indices(name, g)
        if isinstance(values, Int8):
            q, scale = _int8(name, values)
            others.setdefault("grads", {})[name], others.setdefault("scale", {})[name] = q, scale
        else:
            floats[name] = values if values is g else as_array("grads", name, values)
        if values is not g:
            _check_length(name, g, floats[name] if name in floats else others["grads"][name])
    return Parts(floats, others)


def with_indices(params: dict[str, Any], rows: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the parameters, those of some rows with their indices."""
    if not rows:
        return params
    return {name: Rows(rows[name], array) if name in rows else array for name, array in params.items()}


def _indices(name: str, g: TopK | Rows) -> NDArray[Any]:
    """Return a copy of the indices: a repeated try sends the same ones."""
    try:
        indices = np.array(g.indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"grads[{name!r}]: its indices cannot be converted to a NumPy array: {error}") from error
    if indices.ndim != 1:
        raise ValueError(f"grads[{name!r}]: its indices have the shape {list(indices.shape)}; expected a vector")
    if indices.dtype.kind not in "iu" and indices.size:
        raise TypeError(f"grads[{name!r}]: its indices have dtype {indices.dtype}; expected integers, such as int64")
    if indices.size and (largest := indices.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"grads[{name!r}]: its indices have {largest}, which is no index in int64")
    return indices.astype("<i8", casting="unsafe")


def _check_length(name: str, g: TopK | Rows, values: NDArray[Any]) -> None:
    k = len(np.asarray(g.indices))
    if values.ndim == 0 or len(values) != k or (isinstance(g, TopK) and values.ndim != 1):
        expected = f"[{k}]" if isinstance(g, TopK) else f"[{k}, …]"
        raise ValueError(
            f"grads[{name!r}]: {k} indices, and values of shape {list(values.shape)}; expected the shape {expected}"
        )


def _int8(name: str, g: Int8) -> tuple[NDArray[Any], NDArray[Any]]:
    values = np.asarray(g.values)
    if values.dtype != np.int8:
        raise TypeError(f"grads[{name!r}] is Int8 of dtype {values.dtype}; expected int8")
    scale = _scale(name, g.scale)
    blocks = -(-values.size // BLOCK)
    if scale.ndim > 1 or scale.size not in (1, blocks):
        raise ValueError(
            f"grads[{name!r}] is Int8 of {values.size} elements with scales of shape {list(scale.shape)}; expected one "
            f"scale, or [{blocks}], each for a block of {BLOCK} elements"
        )
    return np.asarray(values, order="C"), np.ascontiguousarray(scale.reshape(-1))


def _scale(name: str, given: ArrayLike) -> NDArray[Any]:
    """Return the scales as float32. NumPy alone would take `None` for NaN."""
    scale = np.asarray(given)
    if scale.dtype.kind in "bOSU":
        raise TypeError(f"grads[{name!r}] is Int8 with the scale {given!r:.80}; expected a number, or one a block")
    return scale.astype("<f4")
