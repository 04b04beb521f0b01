"""The indices and scales of compressed gradients: checks of what a body brings. Knows no session, so no size."""

from collections.abc import Collection

import numpy as np

from app.errors import MalformedBody, TensorMismatch
from app.expansion import SCALED, scales_of
from app.wire.rows import checked_indices
from optim_engine.arrays import Array, Arrays


def checked_at(at: Arrays, grads: Arrays, rows: Arrays) -> dict[str, Array]:
    """Return a copy of the indices of elements, as many as their gradient has. Raises as `checked_rows`."""
    return {name: _checked_at(name, indices, grads.get(name), rows) for name, indices in at.items()} if at else {}


def _checked_at(name: str, indices: Array, g: Array | None, rows: Arrays) -> Array:
    indices = checked_indices(f"at/{name}", indices)
    if name in rows:
        raise TensorMismatch(f"tensor {name!r:.80} has both rows and single elements: send one of them", tensor=name)
    if g is None:
        raise TensorMismatch(f"tensor {name!r:.80} has indices and no gradient: send grads/{name:.80} too", tensor=name)
    if g.shape != indices.shape:
        raise TensorMismatch(
            f"tensor {name!r:.80} has {len(indices)} indices, and a gradient of shape {list(g.shape)}: send one "
            "element for each index",
            tensor=name,
            expected=str([len(indices)]),
            got=str(list(g.shape)),
        )
    return indices


def checked_scale(scale: Arrays, grads: Arrays, int8: Collection[str]) -> Arrays:
    """Return the scales: one for an int8 gradient, or one for each block. `int8` has the names of such gradients.

    Raises as `checked_rows`.
    """
    for name in int8:
        if name not in scale:
            raise TensorMismatch(f"tensor {name!r:.80} has an int8 gradient: send scale/{name:.80} too", tensor=name)
    for name, scales in scale.items():
        _check_scale(name, scales, grads.get(name))
    return scale


def _check_scale(name: str, scales: Array, g: Array | None) -> None:
    if scales.ndim > 1:
        raise MalformedBody(
            f"tensor {f'scale/{name}'!r:.80} must be one flat list, and has {scales.ndim} dimensions",
            tensor=f"scale/{name}",
        )
    if g is None or g.dtype != np.int8:
        has = "no gradient" if g is None else f"a gradient of {g.dtype.name}"
        raise TensorMismatch(f"tensor {name!r:.80} has a scale and {has}: scales are for int8", tensor=name)
    if scales.size not in (1, blocks := scales_of(g.size)):
        some = f", or {blocks}, each for a block of {SCALED} elements" if blocks > 1 else ""
        raise TensorMismatch(
            f"tensor {name!r:.80} has {g.size} elements in int8 and {scales.size} scales: send one{some}",
            tensor=name,
            expected=f"1 or {blocks}" if blocks > 1 else "1",
            got=str(scales.size),
        )
