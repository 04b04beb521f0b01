"""None is quick by doing something else: competitors that took the same steps must have the same parameters."""

from collections.abc import Mapping

import numpy as np

from optim_engine.arrays import Array


def check_agreement(answers: Mapping[str, Array], start: Array) -> None:
    """To a few roundings of float32, and to 1e-4 of what the steps have changed."""
    (first, expected), *others = answers.items()
    changed = float(np.abs(expected - start).max())
    for name, params in others:
        if not np.allclose(params, expected, rtol=1e-6, atol=1e-4 * changed):
            raise RuntimeError(f"{name!r} and {first!r} do not take the same steps")
