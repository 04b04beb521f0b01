"""The division of gradients by a step's `grad_scale`, which undoes loss scaling.

    g ← g / c       in float64, rounded once to the compute dtype

So a gradient in float16 keeps the digits that float16 would round away.
"""

import numpy as np

from optim_engine.arrays import Array, Arrays, compute_dtype, convert
from optim_engine.fields import number

_SCALE = number(above=0).metadata


def unscaled(grads: Arrays, scale: float) -> Arrays:
    """Return the gradients divided by the scale, in the compute dtype; as they came if it is 1.

    Raises `InvalidConfig` unless it is a finite number above 0.
    """
    if scale == 1.0:
        return grads
    divisor = _SCALE["read"]("grad_scale", scale)
    return {tensor: _divided(g, divisor) for tensor, g in grads.items()}


@np.errstate(all="ignore")
def _divided(g: Array, scale: float) -> Array:
    wide = np.empty(g.shape, compute_dtype(g.dtype))
    convert(g, wide)
    return np.divide(wide, scale, out=wide, dtype=np.float64, casting="same_kind")
