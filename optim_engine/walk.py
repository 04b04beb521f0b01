"""The walk over a run: its vectors are updated block by block, each while it is in the processor's cache.

    g ← −g       maximize
    g ← c·g      clipped by global norm; or each element held within ±value
    g ← g + λ·θ  weight decay as L2, where it is not decoupled

Then come the rule's own equations, and the new θ is rounded once to the parameter's dtype.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from optim_engine.arrays import Array, Arrays, compute_dtype, convert, unify_nans, widened
from optim_engine.buffers import scratch
from optim_engine.hyperparameters import Hyperparameters
from optim_engine.optimizers import Rule
from optim_engine.sums import Chunk, Part, settle, settled


@dataclass(frozen=True, slots=True)
class Update:
    """What a step does to every element of a run: its tensors' t-th update, at the learning rate γ."""

    rule: Rule
    h: Hyperparameters
    t: int
    γ: float
    clip_scale: float
    clip_value: float | None

    @property
    def changes_gradient(self) -> bool:
        """Whether the gradient that the rule sees is another one, but for its sign."""
        return (
            self.clip_scale != 1.0 or self.clip_value is not None or bool(self.h.weight_decay and not self.h.decoupled)
        )

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


class Block(NamedTuple):
    """A part of a run in the compute dtype, and room for what is made of it; `spare` may be `g`."""

    part: Part
    θ: Array
    g: Array
    spare: Array
    result: Array
    tmp: Array
    squares: Array
    """`tmp` with room behind it for whole tiles."""
    change: Array
    """`spare` with that room."""


@np.errstate(all="ignore")
def advance(update: Update, run: Vectors, chunk: Chunk) -> Array:
    """Update a chunk of a run. Returns the sums of squares of the gradients as they came, of the change, and of the
    new parameters before rounding, of each tensor or block: [sums, 3]."""
    sums, rule = [], update.rule
    for part, θ, came, spare, result, tmp, squares, change in _blocks(run, chunk):
        np.multiply(came, came, out=tmp)
        rows = [part.rows(squares)]
        new, g = _cut(run.new, part.place), update.gradient(came, θ, spare, tmp)
        if update.changes_gradient and rule.squares:
            np.multiply(g, g, out=tmp)
        rule.advance(update.h, update.t, g, _cut(run.old, part.place), new, tmp)
        rule.apply(update.h, update.t, update.γ, θ, g, new, result, tmp)
        np.subtract(result, θ, out=spare)
        np.multiply(spare, spare, out=spare)
        rows.append(part.rows(change))
        np.multiply(result, result, out=tmp)
        rows.append(part.rows(squares))
        totals = part.totals(rows)
        if not settled(totals, θ.dtype):
            settle(totals, part, [run.g[part.place], result - θ, result])
            if np.isnan(totals[:, 2]).any():  # a moment that is NaN has made its parameter NaN
                for x in (result, *(x for slot, x in new.items() if slot != "params")):
                    unify_nans(x)
        sums.append(totals)
    return np.concatenate(sums)


@np.errstate(all="ignore")
def reapply(update: Update, run: Vectors, chunk: Chunk) -> None:
    """Only the new parameters, by moments that were advanced before: to the bit those that `advance` gave."""
    for part, θ, came, spare, result, tmp, *_ in _blocks(run, chunk):
        new, g = _cut(run.new, part.place), update.gradient(came, θ, spare, tmp)
        update.rule.apply(update.h, update.t, update.γ, θ, g, new, result, tmp)
        unify_nans(result)


def _blocks(run: Vectors, chunk: Chunk) -> Iterator[Block]:
    """Each block, whose result is brought to its place when the next one is asked for."""
    params, new = run.old["params"], run.new["params"]
    memory = scratch(4, chunk.room, compute_dtype(params.dtype))
    direct = new.dtype == memory.dtype and not np.may_share_memory(params, new)
    for part in chunk.parts:
        at = part.place
        wide_θ, spare, result, tmp = memory[:, : at.stop - at.start]
        result = new[at] if direct else result
        yield Block(
            part, widened(params[at], wide_θ), widened(run.g[at], spare), spare, result, tmp, memory[3], memory[1]
        )
        if not direct:
            convert(result, new[at])


def _cut(vectors: Arrays, part: slice) -> dict[str, Array]:
    return {slot: vector[part] for slot, vector in vectors.items()}
