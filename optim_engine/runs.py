"""Runs: the vectors that a step walks over. A big tensor is one; tiny ones that are treated alike are packed into one.

One call of NumPy costs as much as a thousand additions, so a thousand tensors of a hundred elements are updated as one
vector; big ones are left where they are, because copying them would cost more than the calls.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays, flat
from optim_engine.config import Config, Hyperparameters
from optim_engine.state import State

PACK_BELOW = 1 << 12
"""Elements: smaller tensors are packed."""
LARGEST_PACK = 1 << 18


@dataclass(frozen=True)
class Run:
    """Tensors that are updated as one vector: same group, same count of updates, same dtypes."""

    tensors: tuple[str, ...]
    group: int | None
    h: Hyperparameters
    t: int
    g: Array
    """Their gradients, one after the other, in the gradients' dtype."""


def runs(config: Config, counts: Mapping[str, int], grads: Arrays) -> list[Run]:
    """The runs of a step, in an order that depends on the names alone: so sums over them come out the same anywhere.

    `counts` are the tensors' updates with this one.
    """
    packs: dict[object, list[str]] = {}
    sizes: dict[object, int] = {}
    for tensor in sorted(grads):
        g = grads[tensor]
        group = config.group_of(tensor)
        key: object = tensor
        if g.size < PACK_BELOW:
            alike = (group, counts[tensor], g.dtype.name)
            key = (*alike, sizes.get(alike, 0) // LARGEST_PACK)
            sizes[alike] = sizes.get(alike, 0) + g.size
        packs.setdefault(key, []).append(tensor)
    return [_run(config, counts, grads, tensors) for tensors in packs.values()]


def _run(config: Config, counts: Mapping[str, int], grads: Arrays, tensors: list[str]) -> Run:
    group = config.group_of(tensors[0])
    g = gather(flat(grads[tensor]) for tensor in tensors)
    return Run(tuple(tensors), group, config.hyperparameters_of(group), counts[tensors[0]], g)


def gather(vectors: Iterable[Array]) -> Array:
    """Vectors one after the other; a single one is not copied."""
    vectors = list(vectors)
    return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)


def scatter(vector: Array, targets: Iterable[Array]) -> None:
    """Copy a vector's parts into the targets, one after the other."""
    start = 0
    for target in targets:
        target[...] = vector[start : start + target.size]
        start += target.size


def read_slot(state: State, tensors: Sequence[str], slot: str) -> Array:
    """A slot of a run's tensors as one vector to read."""
    if state.layout.adjacent(tensors, slot):
        return state.run(tensors, slot)
    return gather(state.vector(tensor, slot) for tensor in tensors)


def blocks(size: int, block: int) -> Iterator[slice]:
    """The parts of a vector of that size."""
    for start in range(0, size, block):
        yield slice(start, min(start + block, size))
