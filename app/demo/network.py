"""The network: 64 pixels → 64 hidden units → 10 digits, in float32, with gradients by hand."""

import numpy as np
from numpy.typing import NDArray

from app.demo.digits import Digits

Tensors = dict[str, NDArray[np.float32]]


def init(seed: int = 0) -> Tensors:
    """Return the first parameters by He's rule: weights of variance 2 over the number of inputs, biases of zero."""
    draw = np.random.default_rng(seed).standard_normal
    return {
        "hidden.weight": draw((64, 64), np.float32) * np.float32((2 / 64) ** 0.5),
        "hidden.bias": np.zeros(64, np.float32),
        "output.weight": draw((64, 10), np.float32) * np.float32((2 / 64) ** 0.5),
        "output.bias": np.zeros(10, np.float32),
    }


def loss_and_grads(params: Tensors, digits: Digits) -> tuple[float, Tensors]:
    """Return the mean cross entropy, and its derivative by every parameter."""
    hidden, p = _forward(params, digits)
    rows = np.arange(len(digits))
    loss = -np.log(p[rows, digits.labels]).mean()

    d_output = p.copy()
    d_output[rows, digits.labels] -= 1
    d_output /= len(digits)
    d_hidden = (d_output @ params["output.weight"].T) * (hidden > 0)
    grads = {
        "hidden.weight": digits.images.T @ d_hidden,
        "hidden.bias": d_hidden.sum(axis=0),
        "output.weight": hidden.T @ d_output,
        "output.bias": d_output.sum(axis=0),
    }
    return float(loss), grads


def accuracy(params: Tensors, digits: Digits) -> float:
    """Return the share of images whose own digit is the most probable one.

    Goes through them in parts: larger products wake OpenBLAS's threads, which then spin for 20 ms beside the server.
    """
    parts = (digits[start : start + 64] for start in range(0, len(digits), 64))
    right = sum(int((_forward(params, part)[1].argmax(axis=1) == part.labels).sum()) for part in parts)
    return right / len(digits)


def _forward(params: Tensors, digits: Digits) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    hidden = np.maximum(digits.images @ params["hidden.weight"] + params["hidden.bias"], 0)
    output = hidden @ params["output.weight"] + params["output.bias"]
    e = np.exp(output - output.max(axis=1, keepdims=True))
    return hidden, e / e.sum(axis=1, keepdims=True)
