"""The walk over a run, which updates its vectors block by block, in NumPy.

    g ← −g       maximize
    g ← c·g      clipped by global norm; or each element held within ±value
    g ← g + λ·θ  weight decay as L2, where it is not decoupled

Then come the rule's own equations, which say what is taken from θ. Where decay is decoupled, θ is multiplied by 1 − γ·λ
before. The new θ is rounded once to the parameter's dtype. A rule that wants whole tensors is handed one as one block.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from optim_engine.arrays import Array, Arrays, compute_dtype, convert, flat, unify_nans, widened
from optim_engine.buffers import scratch
from optim_engine.cautious import hold_back
from optim_engine.layout import SLOTS
from optim_engine.rule import At, Counts, Hyperparameters, Rule, Shape, SharingRule, Unit, elements
from optim_engine.sums import Chunk, Part, settle, settled, squares

NUMBERS = frozenset(name for name, slot in SLOTS.items() if slot.shape_of is not elements)
"""The slots with one value for each tensor of a flat run, instead of one for each element."""


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """The update of every element of a run: its tensors' t-th, at the learning rate γ.

    It equals only itself, which makes it a cheap key of a cache.
    """

    rule: Rule[Any]
    h: Hyperparameters
    t: int
    γ: float
    clip_scale: float
    clip_value: float | None
    shape: Shape
    """The shape of the run's first tensor, which is the only one if the rule wants it whole."""
    counts: tuple[int, ...] = ()
    """The counts of rows where they differ; the vector `t` has the index of each element's."""
    shared: Mapping[str, float] = field(default_factory=dict)
    """The numbers of a `SharingRule`."""

    @property
    def unit(self) -> Unit:
        return self.rule.unit_of(self.h)

    @property
    def changes_gradient(self) -> bool:
        """Return whether the gradient that the rule sees differs from the one that came in more than its sign."""
        return (
            self.clip_scale != 1.0 or self.clip_value is not None or bool(self.h.weight_decay and not self.h.decoupled)
        )

    def gradient(self, g: Array, θ: Array, out: Array, tmp: Array) -> Array:
        """Return the gradient that the rule sees: the one that came, or `out` filled with another."""
        if self.h.maximize:
            g = np.negative(g, out=out)
        if self.clip_scale != 1.0:
            g = np.multiply(g, self.clip_scale, out=out)
        if self.clip_value is not None:
            g = np.clip(g, -self.clip_value, self.clip_value, out=out)
        if self.h.weight_decay and not self.h.decoupled:
            g = np.add(g, np.multiply(θ, self.h.weight_decay, out=tmp), out=out)
        return g

    def parameter(self, at: At[Any], θ: Array, taken: Array, out: Array) -> None:
        """Fill `out` with the new parameter, after decoupled weight decay."""
        if shrink := self.rule.shrink(at):
            θ = np.multiply(θ, 1 - shrink, out=out)
        np.subtract(θ, taken, out=out)


class Vectors(NamedTuple):
    """The vectors of a run: the gradient, and for each slot (`params` is one) the old values and the output buffer. The
    two may alias, except in the slots of `NUMBERS`."""

    g: Array
    old: Arrays
    new: Arrays

    def of(self, chunk: Chunk) -> "Vectors":
        """Return the vectors of a chunk. Numbers are not cut."""
        place, every = chunk.place, slice(None)
        if len(self.g) == place.stop - place.start:
            return self
        return Vectors(self.g[place], _cut(self.old, place, every), _cut(self.new, place, every))

    def apart(self) -> "Vectors":
        """Return the same vectors with new buffers for numbers, because only the first chunk fills those of the run."""
        return self._replace(new={**self.new, **{slot: np.empty_like(self.new[slot]) for slot in self.numbers}})

    @property
    def numbers(self) -> Set[str]:
        """The run's slots that have one value for each tensor."""
        return NUMBERS & self.new.keys()

    def block(self, part: Part) -> tuple[Array, Arrays, Arrays]:
        """Return the gradient, the old and the new vectors of a part, of a chunk whose vectors these are."""
        place, tensors = part.place, part.tensors
        if len(self.g) == place.stop - place.start:
            return self.g, self.old, self.new
        return self.g[place], _cut(self.old, place, tensors), _cut(self.new, place, tensors)


class Block(NamedTuple):
    """A part of a run in the compute dtype, with scratch arrays: flat, or a whole tensor in its shape."""

    at: At[Any]
    θ: Array
    g: Array
    """The gradient as it came."""
    spare: Array
    """A scratch array, which may be `g`."""
    result: Array
    tmp: Array
    old: Arrays
    new: Arrays
    target: Array | None
    """The output that the result is converted to; None if the result is the output."""

    def measured(self, update: Update, g: Array) -> "Block":
        """Return the block with what the rule measures of a whole tensor."""
        if update.unit is Unit.BLOCK:
            return self
        return self._replace(at=self.at._replace(measured=update.rule.measure(self.at, self.θ, g)))

    def apply(self, update: Update, g: Array) -> None:
        """Fill the result from the gradient and the advanced slots."""
        update.rule.apply(self.at, self.θ, g, self.new, self.tmp, self.result)
        if update.h.cautious:
            hold_back(self.tmp, g, self.result)
        update.parameter(self.at, self.θ, self.tmp, self.result)

    def write(self) -> None:
        """Convert the result to its output."""
        if self.target is not None:
            convert(self.result, self.target)

    def unify_nans(self) -> None:
        """Give every NaN of the results the same bits. A moment that is NaN has made its parameter NaN."""
        for x in (self.result, *(x for slot, x in self.new.items() if slot != "params")):
            unify_nans(x)


def update_blocks(update: Update, run: Vectors, chunk: Chunk) -> Array:
    """Update a chunk of a run. Return the sums of squares of the gradients as they came, of the change and of the new
    parameters before rounding, for each tensor or block: [sums, 3]."""
    if update.unit is Unit.TENSOR:
        return _update_tensor(update, run, chunk)
    if chunk.place.start and run.numbers:
        run = run.apart()
    memory = _memory(update, run, chunk.room)
    if len(chunk.parts) == 1:
        return _update_block(update, run, chunk.parts[0], memory)
    return np.concatenate([_update_block(update, run, part, memory) for part in chunk.parts])


def reapply(update: Update, run: Vectors, chunk: Chunk) -> None:
    """Compute only the new parameters, from moments that were advanced before: the same bits as `update_blocks`."""
    for block in _blocks(update, run, chunk):
        g = update.gradient(block.g, block.θ, block.spare, block.tmp)
        block.measured(update, g).apply(update, g)
        unify_nans(block.result)
        block.write()


def terms(update: Update, run: Vectors, chunk: Chunk) -> Array:
    """Return the sums of a `SharingRule`'s terms for each tensor or block of a chunk: [sums, terms]."""
    rule: SharingRule[Any] = update.rule  # type: ignore[assignment]
    out, totals = scratch(rule.sums, chunk.room, np.dtype(np.float64)), []
    for part, block in zip(chunk.parts, _blocks(update, run, chunk), strict=True):
        g = update.gradient(block.g, block.θ, block.spare, block.tmp)
        rule.terms(block.at, block.θ, g, block.old, out[:, : len(g)])
        totals.append(part.totals([part.rows(row) for row in out]))
    return np.concatenate(totals)


def _update_block(update: Update, run: Vectors, part: Part, memory: Array) -> Array:
    """Update a block and sum its squares. The rule may use the gradient's squares too."""
    block = _block(update, run, part, memory)
    _, θ, came, spare, result, tmp, old, new, _ = block
    np.multiply(came, came, out=tmp)
    rows = [part.rows(memory[TMP])]
    g = update.gradient(came, θ, spare, tmp)
    if update.changes_gradient and update.rule.wants_squares:
        np.multiply(g, g, out=tmp)
    update.rule.advance(block.at, g, old, new, tmp)
    block.apply(update, g)
    update.rule.follow(block.at, result, old, new)
    np.subtract(result, θ, out=spare)
    np.multiply(spare, spare, out=spare)
    rows.append(part.rows(memory[SPARE]))
    np.multiply(result, result, out=tmp)
    rows.append(part.rows(memory[TMP]))
    totals = part.totals(rows)
    if not settled(totals, θ.dtype):
        settle(totals, part, [run.g[part.place], result - θ, result])
        if np.isnan(totals[:, 2]).any():
            block.unify_nans()
    block.write()
    return totals


def _update_tensor(update: Update, run: Vectors, chunk: Chunk) -> Array:
    """Update a tensor as a whole. Its squares are summed block by block."""
    (block,) = _blocks(update, run, chunk)
    _, θ, came, spare, result, tmp, old, new, _ = block
    g = update.gradient(came, θ, spare, tmp)
    block = block.measured(update, g)
    if update.rule.wants_squares:
        np.multiply(g, g, out=tmp)
    update.rule.advance(block.at, g, old, new, tmp)
    block.apply(update, g)
    update.rule.follow(block.at, result, old, new)
    np.subtract(result, θ, out=spare)
    totals = np.hstack([squares(flat(x), chunk) for x in (run.g, spare, result)])
    if np.isnan(totals[:, 2]).any():
        block.unify_nans()
    block.write()
    return totals


SPARE, TMP = 1, 3
"""The scratch rows that are long enough for whole rows of lanes."""


def _memory(update: Update, run: Vectors, size: int) -> Array:
    """Return scratch for blocks of up to `size` elements: the parameter, the spare array, the result, one more, and the
    slots that the session may not keep."""
    return scratch(4 + len(update.rule.only_replay), size, compute_dtype(run.old["params"].dtype))


def _blocks(update: Update, run: Vectors, chunk: Chunk) -> Iterator[Block]:
    """Yield each block of a chunk. Write it before you ask for the next one."""
    if update.unit is Unit.TENSOR:
        yield _whole(update, run)
        return
    memory = _memory(update, run, chunk.room)
    for part in chunk.parts:
        yield _block(update, run, part, memory)


def _block(update: Update, run: Vectors, part: Part, memory: Array) -> Block:
    """Return the block of that part."""
    g, old, new = run.block(part)
    return _assemble(update, part.sizes, g, old, new, list(memory[:, : len(g)]))


def _whole(update: Update, run: Vectors) -> Block:
    """Return a whole tensor as one block: each vector in the tensor's shape, each slot in the slot's."""
    size, shape = len(run.g), update.shape
    old, new = ({slot: x.reshape(SLOTS[slot].shape_of(shape)) for slot, x in of.items()} for of in (run.old, run.new))
    room = [row.reshape(shape) for row in _memory(update, run, size)]
    return _assemble(update, (size,), run.g.reshape(shape), old, new, room)


def _assemble(update: Update, sizes: Sequence[int], g: Array, old: Arrays, new: Arrays, room: Sequence[Array]) -> Block:
    """Return a block of those arrays and scratch rows. Its result is the output itself if that is possible."""
    counts = Counts(update.counts, old["t"]) if update.counts else None
    at = At(update.h, update.t, update.γ, sizes, counts=counts, shared=update.shared)
    params, target = old["params"], new["params"]
    wide_θ, spare, result, tmp, *rest = room
    θ = widened(params, wide_θ)
    if θ is not params:
        old = {**old, "params": θ}
    if rest:
        new = {**dict(zip(update.rule.only_replay, rest, strict=True)), **new}
    if target.dtype == tmp.dtype and not np.may_share_memory(params, target):
        return Block(at, θ, widened(g, spare), spare, target, tmp, old, new, None)
    return Block(at, θ, widened(g, spare), spare, result, tmp, old, new, target)


def _cut(vectors: Arrays, place: slice, tensors: slice) -> dict[str, Array]:
    return {slot: vector[tensors if slot in NUMBERS else place] for slot, vector in vectors.items()}
