"""The bits of engine runs, one digest each: `python -m tests.golden.bits` writes `bits.json`.

Only where the engine's definition changed: they are the same on every processor, by every kernel, with any number of
threads. The numbers are made of whole numbers, so that they are the same everywhere too.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np

from optim_engine import Outcome, State, step
from optim_engine.arrays import Array
from optim_engine.machine import ALONE, Machine
from tests.engine.cases import ALL, DTYPES, Case
from tests.engine.specials import special_step

FILE = Path(__file__).parent / "bits.json"
SHAPES = {"layer.weight": (33, 1001), "layer.bias": (131,), "gain": (), "a": (7, 100), "ü": (513,)}
STEPS = 3


def tensors(seed: int, dtype: str) -> dict[str, Array]:
    """Numbers of many magnitudes, some of them zero, some subnormal."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in SHAPES.items():
        numbers = rng.integers(-(1 << 24), 1 << 24, shape).astype(np.float64)
        powers = rng.choice([-24, -26, -30, -36, -44, -50, -120, -150], shape)
        made[name] = np.asarray(np.ldexp(numbers * rng.integers(0, 4, shape), powers)).astype(DTYPES[dtype])
    return made


def digest_of(case: Case, dtype: str, machine: Machine = ALONE) -> str:
    """Of some steps, and of one of NaN, infinities and the like: all parameters, the state's memory, the metrics."""
    state, params, digest = State.empty(), tensors(0, dtype), blake2b(digest_size=16)
    for t in range(1, STEPS + 1):
        outcome = step(case.config, state, params, tensors(t, dtype), machine=machine)
        state, params = outcome.state, outcome.params
        _add(digest, outcome)
    _add(digest, step(case.config, *special_step(case.config, dtype), machine=machine))
    return digest.hexdigest()


def _add(digest: "blake2b", outcome: Outcome) -> None:
    for name in sorted(outcome.params):
        digest.update(outcome.params[name].tobytes())
    digest.update(outcome.state.memory.tobytes())
    digest.update(" ".join(value.hex() for value in vars(outcome.metrics).values()).encode())


def kept() -> Mapping[str, Mapping[str, str]]:
    """By case, and by dtype."""
    found: Mapping[str, Mapping[str, str]] = json.loads(FILE.read_text())
    return found


def write() -> None:
    """Write all of them anew."""
    made = {case.name: {dtype: digest_of(case, dtype) for dtype in DTYPES} for case in ALL}
    FILE.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    write()
