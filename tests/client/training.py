"""A short training run with tensors of every dtype, and its result without a service."""

from typing import Any

import ml_dtypes
import numpy as np
from optim_client._tensors import Arrays


def some_params() -> Arrays:
    draw = np.random.default_rng(0).standard_normal
    return {
        "encoder/0/weight": draw((5, 3), np.float32).T,
        "encoder/0/bias": draw(8, np.float32)[::2],
        "gewicht-ü": draw((2, 2)),
        "scale": np.asarray(0.5, np.float32),
        "half": draw(6).astype(np.float16),
        "brain": draw(6).astype(ml_dtypes.bfloat16),
        "empty": np.zeros((0, 4), np.float32),
    }


def grads_for(params: Arrays, number: int) -> Arrays:
    draw = np.random.default_rng(number).standard_normal
    return {name: np.asarray(draw(array.shape)).astype(array.dtype) for name, array in params.items()}


def train(session: Any, params: Arrays, steps: range) -> Arrays:
    for number in steps:
        params = session.step(params, grads_for(params, number), loss=1 / number)
    return params


def bits(arrays: Arrays) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in sorted(arrays.items())}
