"""The engine against textbook NumPy, and packed tensors against one of the same size."""

import numpy as np

from benchmarks.timing import Comparison, compare
from optim_engine import Config, State, step

CONFIG = Config.parse("adamw")


def comparisons() -> list[Comparison]:
    return [_against_textbook(10_000_000), _against_textbook(100_000), _packed()]


class Textbook:
    """AdamW as it is usually written: a fresh array for each operation."""

    def __init__(self, size: int) -> None:
        self.t, self.m, self.v = 0, np.zeros(size, np.float32), np.zeros(size, np.float32)

    def step(self, θ: np.ndarray, g: np.ndarray) -> np.ndarray:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        m_hat, v_hat = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return θ * (1 - 1e-3 * 1e-2) - 1e-3 * m_hat / (np.sqrt(v_hat) + 1e-8)


class Engine:
    """The same through the engine, from state to state."""

    def __init__(self) -> None:
        self.state = State.empty()

    def step(self, params: dict[str, np.ndarray], grads: dict[str, np.ndarray]) -> None:
        self.state = step(CONFIG, self.state, params, grads).state


def _against_textbook(size: int) -> Comparison:
    θ, g = _random(size), _random(size)
    engine, textbook = Engine(), Textbook(size)
    return compare(
        (f"engine, adamw, {size:,} float32", lambda: engine.step({"w": θ}, {"w": g})),
        ("textbook NumPy, the same", lambda: textbook.step(θ, g)),
    )


def _packed() -> Comparison:
    many = {f"w{i}": _random(100) for i in range(1000)}
    one = {"w": _random(100_000)}
    packed, whole = Engine(), Engine()
    return compare(
        ("engine, 1,000 tensors of 100", lambda: packed.step(many, many)),
        ("engine, one tensor of 100,000", lambda: whole.step(one, one)),
        rounds=50,
    )


def _random(size: int) -> np.ndarray:
    return np.random.default_rng(size).standard_normal(size, dtype=np.float32)
