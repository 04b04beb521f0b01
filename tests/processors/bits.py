"""Digests of training runs by the engine: every optimizer, dtype, clip and kernel, on one to four threads.

`python -m tests.processors.bits` prints them as JSON; `bits.json` has those that every processor must give. It is made
anew only where the numerics change.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from optim_engine import OPTIMIZERS, Config, State, held_params, step
from optim_engine.aggregate import Aggregate, Part
from optim_engine.arrays import CHUNK, Array, compute_dtype
from optim_engine.machine import NUMPY, Kernel, Machine, fastest
from tests.amounts import WHOLE
from tests.engine.cases import ALL, DTYPES, Case
from tests.processors.environments import THREADS

FILE = Path(__file__).with_name("bits.json")
STEPS = 3
MORE_STEPS = {"radam": 7, "asgd": 7}
"""The steps of the rules that change their formula later."""
SHAPES: Mapping[str, tuple[int, ...]] = {
    "layer.weight": (37, 113),
    "layer.bias": (129,),
    "gain": (),
    "none": (0, 3),
    **{f"tiny.{i}": (i,) for i in (1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 65, 100)},
    "head": (5, 7001),
}
LARGE: Mapping[str, tuple[int, ...]] = {"large": (2 * CHUNK + 4097,), "next": (CHUNK // 2 + 1,), "tiny": (3,)}
"""More than one chunk, so that threads share it."""
LARGE_CASES = ("adamw", "adamw_clip_norm", "adam_all", "sgd_nesterov_all", "rmsprop_all", "nadam_all", "adafactor_all")
LARGE_THREADS = range(1, THREADS + 1) if WHOLE else [1, THREADS]
"""The numbers of threads that take the large runs; a quick run leaves out those in between."""
GROUPS = [
    {"match": ["large"], "optimizer": "lion"},
    {"match": ["tiny*"], "optimizer": "nadam"},
    {"match": ["next"], "optimizer": "sgd", "momentum": 0.9},
]
MIXED = Case("mixed", "adamw", {}, {"groups": GROUPS, "clip": {"global_norm": 0.7}})
"""Several rules in one session, clipped together."""


@cache
def numbers(seed: int, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return numbers of many sizes, made of whole ones alone, so that they are the same on every machine."""
    size = int(np.prod(shape))
    words = np.frombuffer(hashlib.shake_128(b"%d %d" % (seed, size)).digest(4 * size), "<u4").astype(np.int64)
    scale = np.ldexp(1.0, (words >> 24).astype(np.int32) % 12 - 9)
    array = (((words & 0xFFFF) - 0x8000) / 0x8000 * scale).astype(dtype).reshape(shape)
    array.flags.writeable = False
    return array


def digest(config: Config, shapes: Mapping[str, tuple[int, ...]], dtype: Any, machine: Machine) -> str:
    """Return the digest of a run: its parameters, states and metrics."""
    found = hashlib.blake2b(digest_size=8)
    params = {name: numbers(i, shape, dtype) for i, (name, shape) in enumerate(shapes.items())}
    state = State.empty()
    for t in range(MORE_STEPS.get(config.optimizer, STEPS)):
        grads = {name: numbers(1000 * (t + 1) + i, shape, dtype) for i, (name, shape) in enumerate(shapes.items())}
        outcome = step(config, state, params, grads, machine=machine)
        state, params = outcome.state, outcome.params
        for name in sorted(params):
            found.update(params[name].tobytes())
        found.update(state.memory.tobytes())
        found.update(struct.pack("<5d", *vars(outcome.metrics).values()))
    return found.hexdigest()


LAZY = Config.parse(
    "adamw",
    hyperparameters={"lr": 0.3, "weight_decay": 0.2},
    groups=[{"match": ["*"], "sparse": "lazy"}],
    schedule={"kind": "cosine", "total_steps": 9},
    hold_params=True,
)
TABLE = (61, 13)


def digest_of_rows(dtype: Any, machine: Machine) -> str:
    """Return the digest of a run of lazy rows, whose counts differ and which have decay to catch up with."""
    found = hashlib.blake2b(digest_size=8)
    state = State.empty().with_params({"emb": numbers(0, TABLE, dtype)})
    for t in range(6):
        rows = np.arange(t, TABLE[0], 2 + t)
        grads = {"emb": numbers(t + 1, TABLE, dtype)[rows]}
        outcome = step(LAZY, state, {}, grads, rows={"emb": rows}, machine=machine)
        state = outcome.state
        found.update(outcome.params["emb"].tobytes())
        found.update(held_params(state, {"emb": None})["emb"].tobytes())
        found.update(state.memory.tobytes())
        found.update(struct.pack("<5d", *vars(outcome.metrics).values()))
    return found.hexdigest()


AGGREGATES = [Aggregate("mean"), Aggregate("clipped_mean", max_norm=0.5), Aggregate("trimmed_mean", trim=0.25)]
WORKERS = 5


def digest_of_aggregate(aggregate: Aggregate, dtype: Any) -> str:
    """Return the digest of the aggregate of some workers' gradients, of which one has sent rows alone."""
    found = np.empty(TABLE[0] * TABLE[1], compute_dtype(np.dtype(dtype)))
    weights, norms = [1.0 + i / 3 for i in range(WORKERS)], [0.4 * i for i in range(WORKERS)]
    chunk = aggregate.of(weights, norms)(found.size, found.dtype)
    rows = np.arange(1, TABLE[0], 3)
    for i in range(WORKERS):
        g = numbers(i, TABLE, dtype)
        chunk.add(Part(g[rows].reshape(-1), rows, TABLE[1]) if i == 2 else Part(g.reshape(-1)))
    chunk.write(found)
    return hashlib.blake2b(found.tobytes(), digest_size=8).hexdigest()


def digests_of_aggregates() -> dict[str, str]:
    """Return the digest of each aggregate, for each dtype."""
    return {
        f"{aggregate.kind} of {WORKERS} {name}": digest_of_aggregate(aggregate, dtype)
        for aggregate in AGGREGATES
        for name, dtype in DTYPES.items()
    }


def runs() -> Iterator[tuple[str, Case, Mapping[str, tuple[int, ...]], str]]:
    """Yield the name, the case, the shapes and the dtype of each run: of the rules that promise bits everywhere."""
    cases = [case for case in ALL if OPTIMIZERS[case.optimizer].bits == "everywhere"]
    for case in cases:
        for dtype in DTYPES:
            yield f"{case.name} {dtype}", case, SHAPES, dtype
    for case in [*(case for case in cases if case.name in LARGE_CASES), MIXED]:
        for dtype in ("float32", "bfloat16"):
            yield f"{case.name} {dtype} large", case, LARGE, dtype


def kernels() -> list[Kernel]:
    """Return NumPy's kernel, and the fused one where numba is installed."""
    return [NUMPY] if fastest() is NUMPY else [NUMPY, fastest()]


def digests(kernel: Kernel) -> dict[str, str]:
    """Return the digest of each run by that kernel: large ones on several numbers of threads, which must agree."""
    found = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for name, case, shapes, dtype in runs():
            threads = LARGE_THREADS if shapes is LARGE else [1]
            of = {digest(case.config, shapes, DTYPES[dtype], Machine(kernel, n, pool)) for n in threads}
            found[name] = " ".join(sorted(of))
    found |= {f"lazy rows {name}": digest_of_rows(dtype, Machine(kernel)) for name, dtype in DTYPES.items()}
    return found | digests_of_aggregates()


if __name__ == "__main__":
    print(json.dumps(digests(NUMPY), indent=1))
