"""Caution: a tensor's update without the elements that would go up their gradient.

    u ← u / max(q, 10⁻³)  where u·g > 0,  0 elsewhere;   q is the share of the elements where u·g > 0

Source: Liang et al. 2024 (arXiv:2411.16085), in timm's form, which bounds q.
"""

import numpy as np

from optim_engine.arrays import Array

LEAST_SHARE = 1e-3


def hold_back(u: Array, g: Array, room: Array) -> None:
    """Hold back the elements of a whole tensor's update u that have not the sign of g; `room` is scratch memory."""
    np.multiply(u, g, out=room)
    against = ~(room > 0)
    share = 1 - int(np.count_nonzero(against)) / max(u.size, 1)
    np.multiply(u, 1 / max(share, LEAST_SHARE), out=u)
    np.copyto(u, 0, where=against)
