"""Conversions of arrays between dtypes."""

import numpy as np

from optim_engine.arrays import convert


def test_arrays_of_any_shape_and_order_are_converted() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    target = np.empty(x.shape, np.float16)
    convert(x, target)
    assert np.array_equal(target, x)
    back = np.empty(x.shape, np.float32)
    convert(target, back)
    assert np.array_equal(back, x)
