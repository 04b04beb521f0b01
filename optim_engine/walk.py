"""The walk over a run: its vectors are updated block by block, each while it is in the processor's cache.

    g ← −g       maximize
    g ← c·g      clipped by global norm; or each element held within ±value
    g ← g + λ·θ  weight decay as L2, where it is not decoupled

Then come the rule's own equations, and the new θ is rounded once to the parameter's dtype.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import add
from typing import NamedTuple

import numpy as np

from optim_engine.arrays import Array, Arrays, blocks, compute_dtype, room, widened
from optim_engine.buffers import scratch
from optim_engine.hyperparameters import Hyperparameters
from optim_engine.norms import square_sum
from optim_engine.optimizers import Rule


@dataclass(frozen=True, slots=True)
class Update:
    """What a step does to every element of a run: its tensors' t-th update, at the learning rate γ."""

    rule: Rule
    h: Hyperparameters
    t: int
    γ: float
    clip_scale: float
    clip_value: float | None

    def gradient(self, g: Array, θ: Array, out: Array, tmp: Array) -> Array:
        """The gradient that the rule sees; written into `out` where it is not the one that came."""
        if self.h.maximize:
            g = np.negative(g, out=out)
        if self.clip_scale != 1.0:
            g = np.multiply(g, self.clip_scale, out=out)
        if self.clip_value is not None:
            g = np.clip(g, -self.clip_value, self.clip_value, out=out)
        if self.h.weight_decay and not self.h.decoupled:
            g = np.add(g, np.multiply(θ, self.h.weight_decay, out=tmp), out=out)
        return g


@dataclass(frozen=True, slots=True)
class Vectors:
    """A run's gradients, and by slot its moments and `params` before the step, and where those after it go: which may
    be where those before it are."""

    g: Array
    old: Arrays
    new: Arrays

    def of(self, part: slice) -> "Vectors":
        """The same of a part of the run."""
        return Vectors(self.g[part], _cut(self.old, part), _cut(self.new, part))


class Sums(NamedTuple):
    """Of squares: of the gradients as they came, of the change, and of the new parameters before rounding."""

    gradients: float = 0.0
    change: float = 0.0
    params: float = 0.0

    def plus(self, other: "Sums") -> "Sums":
        return Sums(*map(add, self, other))


class Block(NamedTuple):
    """A part of a run in the compute dtype, and room for what is made of it; `spare` may be `g`."""

    part: slice
    θ: Array
    g: Array
    spare: Array
    result: Array
    tmp: Array


@np.errstate(all="ignore")
def advance(update: Update, run: Vectors) -> Sums:
    """Update a run, or a part of one."""
    sums = Sums()
    for part, θ, came, spare, result, tmp in _blocks(run):
        gradients = square_sum(came)
        new, g = _cut(run.new, part), update.gradient(came, θ, spare, tmp)
        update.rule.advance(update.h, update.t, g, _cut(run.old, part), new, tmp)
        update.rule.apply(update.h, update.t, update.γ, θ, g, new, result, tmp)
        change = square_sum(np.subtract(result, θ, out=spare))
        sums = sums.plus(Sums(gradients, change, square_sum(result)))
    return sums


def reapply(update: Update, run: Vectors) -> None:
    """Only the new parameters, by moments that were advanced before: to the bit those that `advance` gave."""
    for part, θ, came, spare, result, tmp in _blocks(run):
        new, g = _cut(run.new, part), update.gradient(came, θ, spare, tmp)
        update.rule.apply(update.h, update.t, update.γ, θ, g, new, result, tmp)


def _blocks(run: Vectors) -> Iterator[Block]:
    """Each block, whose result is brought to its place when the next one is asked for."""
    params, new = run.old["params"], run.new["params"]
    size = len(params)
    memory = scratch(4, room(size), compute_dtype(params.dtype))
    direct = new.dtype == memory.dtype and not np.may_share_memory(params, new)
    for part in blocks(size):
        wide_θ, spare, result, tmp = memory[:, : part.stop - part.start]
        result = new[part] if direct else result
        yield Block(part, widened(params[part], wide_θ), widened(run.g[part], spare), spare, result, tmp)
        if not direct:
            new[part] = result


def _cut(vectors: Arrays, part: slice) -> dict[str, Array]:
    return {slot: vector[part] for slot, vector in vectors.items()}
