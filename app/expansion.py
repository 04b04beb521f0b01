"""Compressed gradients, expanded: the elements of top-k stand among zeros, and int8 is multiplied by its scale.

Everything behind this sees the dense gradient. It follows from the body and the tensor's shape alone, so a replay has
the same bits. `docs/numerics.md` defines them.
"""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from app.step import StepRequest, nbytes_of
from optim_engine import Layout, TensorMismatch
from optim_engine.arrays import Array, Arrays, flat

SCALED = 256
"""The elements that one of several scales is for."""
NOTHING = Layout({})
"""The layout of a session that knows no tensor."""
FLOAT32 = np.dtype(np.float32)


def scales_of(size: int) -> int:
    """Return how many scales a gradient of that size has, if each is for a block."""
    return -(-size // SCALED)


@np.errstate(all="ignore")
def expanded(request: StepRequest, layout: Layout) -> StepRequest:
    """Return the request with dense gradients. A shape is that of the parameter in the request, or the session's.

    Raises `TensorMismatch` for a tensor whose shape is unknown, or that has no element of an index.
    """
    if not request.is_compressed:
        return request
    grads = {name: _expanded(name, request, layout) for name in request.grads}
    return replace(request, grads=grads, at={}, scale={})


def outline(request: StepRequest, layout: Layout) -> Arrays:
    """Return arrays of the shapes and dtypes that the gradients will have, which take no memory.

    A gradient that cannot be expanded is left out.
    """
    if not request.is_compressed:
        return request.grads
    shapes = {name: _shape_of(name, request, layout) for name in request.grads}
    return {
        name: np.broadcast_to(np.zeros((), dtype_of(name, request)), shape)
        for name, shape in shapes.items()
        if shape is not None
    }


def expanded_nbytes(request: StepRequest, layout: Layout) -> int:
    """Return how many bytes the arrays of the expanded request will have."""
    if not request.is_compressed:
        return request.nbytes
    nbytes = sum(
        prod(_shape_of(name, request, layout) or ()) * dtype_of(name, request).itemsize for name in request.grads
    )
    return nbytes + nbytes_of(request.params) + nbytes_of(request.rows)


def dtype_of(name: str, request: StepRequest) -> np.dtype[Any]:
    """Return the dtype of a gradient, once it is expanded."""
    return FLOAT32 if name in request.scale else request.grads[name].dtype


def _expanded(name: str, request: StepRequest, layout: Layout) -> Array:
    g = request.grads[name]
    if name in request.scale:
        g = scaled(g, request.scale[name])
    if name not in request.at:
        return g
    at, shape = request.at[name], _shape_of(name, request, layout)
    if shape is None:
        raise TensorMismatch(
            name,
            "has a gradient of some elements, and its shape is unknown: send its parameter too, or, where the session "
            "holds parameters, PUT …/params first",
        )
    size = prod(shape)
    if at.size and at[-1] >= size:
        raise TensorMismatch(
            name,
            f"has {size} elements, and its gradient one at index {at[-1]}: `at` has indices into the flat tensor",
            expected=f"an index below {size}",
            got=str(at[-1]),
        )
    dense = np.zeros(size, g.dtype)
    dense[at] = g
    return dense.reshape(shape)


def _shape_of(name: str, request: StepRequest, layout: Layout) -> tuple[int, ...] | None:
    if name not in request.at:
        return request.grads[name].shape
    if name in request.params:
        return request.params[name].shape
    return layout.entries[name].spec.shape if name in layout.entries else None


def scaled(q: Array, scale: Array) -> Array:
    """Return q·scale in float32, rounded once: both factors are exact in it. Of several scales, each is for `SCALED`
    elements."""
    out, flat_q, scale = np.empty(q.shape, FLOAT32), flat(q), flat(scale)
    target = out.reshape(-1)
    if scale.size == 1:
        np.multiply(flat_q, scale, out=target)
        return out
    whole = q.size // SCALED * SCALED
    blocks = flat_q[:whole].reshape(-1, SCALED)
    np.multiply(blocks, scale[: len(blocks), np.newaxis], out=target[:whole].reshape(-1, SCALED))
    np.multiply(flat_q[whole:], scale[len(blocks) :], out=target[whole:])
    return out
