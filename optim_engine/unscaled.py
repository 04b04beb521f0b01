"""The division of gradients by a step's `grad_scale`, which undoes loss scaling.

    g ← g / c       in float64, rounded once to the compute dtype

So a gradient in float16 keeps the digits that float16 would round away.
"""

import numpy as np

from optim_engine.arrays import Array, Arrays, compute_dtype, convert
from optim_engine.fields import number


def read_grad_scale(scale: object) -> float:
    """Return a scale given for one step. Raises `InvalidConfig`."""
    return float(_SCALE["read"]("grad_scale", scale))


_SCALE = number(above=0).metadata


@np.errstate(all="ignore")
def unscaled(grads: Arrays, scale: float) -> Arrays:
    """Return the gradients divided by the scale, in the compute dtype; as they came if it is 1."""
    return grads if scale == 1.0 else {tensor: _divided(g, scale) for tensor, g in grads.items()}


def _divided(g: Array, scale: float) -> Array:
    wide = np.empty(g.shape, compute_dtype(g.dtype))
    convert(g, wide)
    return np.divide(wide, scale, out=wide, dtype=np.float64, casting="same_kind")
