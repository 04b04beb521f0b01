"""Gradient clipping: by the global norm, or element by element.

By norm, as PyTorch's `clip_grad_norm_` does (Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063): all gradients of a step are
scaled by min(1, max_norm / (norm + 1e-6)).
"""

import numpy as np

from optim_engine.arrays import Array
from optim_engine.config import Clip


def clip_scale(clip: Clip | None, norm: float) -> float:
    """What every gradient of the step is multiplied by."""
    if clip is None or clip.global_norm is None:
        return 1.0
    return min(1.0, clip.global_norm / (norm + 1e-6))


def clip_values(clip: Clip, g: Array, out: Array) -> Array:
    """out ← each element of g held within ±clip.value"""
    assert clip.value is not None
    return np.clip(g, -clip.value, clip.value, out=out)
