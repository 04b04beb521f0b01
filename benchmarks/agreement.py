"""The comparison of competitors' parameters: those that took the same steps must have the same ones."""

from collections.abc import Mapping

import numpy as np

from optim_engine.arrays import Array


def check_agreement(answers: Mapping[str, Array], start: Array) -> None:
    """Raise `RuntimeError` if parameters differ by more than roundings of float32 and 1e-4 of the total change."""
    if not answers:
        return
    (first, expected), *others = answers.items()
    changed = float(np.abs(expected - start).max())
    for name, params in others:
        if not np.allclose(params, expected, rtol=1e-6, atol=1e-4 * changed):
            raise RuntimeError(f"{name!r} and {first!r} do not take the same steps")
