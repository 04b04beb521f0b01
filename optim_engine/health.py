"""The health of a state's tensors, computed when somebody asks: the norms of each parameter and of its moments.

A large tensor is read block by block, and small ones are packed, so that it takes little memory and few calls. The
sums are those of docs/numerics.md, so the norms have the same bits on every machine.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from optim_engine.arrays import Array
from optim_engine.config import Config
from optim_engine.machine import ALONE, Machine
from optim_engine.norms import SMALLEST, norm
from optim_engine.plan import LARGEST_PACK
from optim_engine.state import State
from optim_engine.sums import SMALL, Chunk, chunks_of, in_order, squares

Numbers: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Health:
    """The norms of the parameters and of their first and second moments, in float64, and the share of the parameters'
    elements that are 0: each by tensor. What the state does not hold is absent, and so is a share of no elements."""

    param_norms: Numbers
    m_norms: Numbers
    v_norms: Numbers
    zero_shares: Numbers


class Part(NamedTuple):
    """A part of one slot: a block of a large tensor, or several small tensors."""

    slot: str
    tensors: Sequence[str]
    chunk: Chunk
    read: Callable[[], Array]


class Measured(NamedTuple):
    """The sums of squares of a part, [sums, 1], and the number of zeros of each tensor, counted of parameters alone."""

    squares: Array
    zeros: Array


_NOT_COUNTED = np.zeros(0, np.int64)


@np.errstate(all="ignore")
def health_of(config: Config, state: State, machine: Machine = ALONE) -> Health:
    """Return the health of a state's tensors. Parameters are as the next step will find them."""
    kept = [_kept(state, slots) for slots in _slots(config, state)]
    parts = [list(_parts(state, slots)) for slots in kept]
    every = [part for several in parts for part in several]
    elements = sum(part.chunk.place.stop - part.chunk.place.start for part in every)
    found = iter(machine.map(_measure, every, elements))
    measured = [[next(found) for _ in several] for several in parts]
    params, first, second = (_norms(state, *both) for both in zip(parts, measured, strict=True))
    return Health(params, first, second, _zero_shares(state, parts[0], measured[0]))


def _slots(config: Config, state: State) -> Iterator[dict[str, str]]:
    """Yield the slots, by tensor, of the parameter, the first and the second moment."""
    groups = config.groups_of(state.entries, limited=False)
    rules = {group: config.rule_of(group) for group in set(groups.values())}
    yield dict.fromkeys(groups, "params")
    for i in (0, 1):
        yield {tensor: rules[group].moments[i] for tensor, group in groups.items()}


def _kept(state: State, slots: Mapping[str, str]) -> dict[str, str]:
    """Return those slots that the state has."""
    return {tensor: slot for tensor, slot in slots.items() if slot in state.entries[tensor].slots}


def _parts(state: State, slots: Mapping[str, str]) -> Iterator[Part]:
    """Yield the parts of one slot of each tensor, so that those of a large one follow each other."""
    small: dict[tuple[str, np.dtype[Any]], list[str]] = {}
    for tensor, slot in slots.items():
        entry = state.entries[tensor]
        is_late = slot == "params" and "row_decay" in entry.slots
        if entry.spec.size < SMALL and not is_late:
            small.setdefault((slot, entry.dtype_of(slot)), []).append(tensor)
        else:
            read = _caught_up if is_late else _block
            for chunk in chunks_of([entry.spec.size]):
                yield Part(slot, [tensor], chunk, partial(read, state, tensor, slot, chunk.place))
    for (slot, _), tensors in small.items():
        for pack in _packs(state, tensors):
            (chunk,) = chunks_of([state.entries[tensor].spec.size for tensor in pack])
            yield Part(slot, pack, chunk, partial(state.layout.spans(pack, slot).read, state.memory))


def _packs(state: State, tensors: Sequence[str]) -> Iterator[list[str]]:
    """Yield some tensors at a time, of about `LARGEST_PACK` elements."""
    before, passed = {}, 0
    for tensor in tensors:
        before[tensor] = passed // LARGEST_PACK
        passed += state.entries[tensor].spec.size
    for _, pack in groupby(tensors, before.__getitem__):
        yield list(pack)


def _block(state: State, tensor: str, slot: str, place: slice) -> Array:
    return state.array(tensor, slot).reshape(-1)[place]


def _caught_up(state: State, tensor: str, slot: str, place: slice) -> Array:
    """Return elements of a parameter whose rows have decay to catch up with, which is done for their rows alone."""
    width = max(1, prod(state.entries[tensor].spec.shape[1:]))
    first, last = place.start // width, -(-place.stop // width)
    rows = state.caught_up(tensor, lambda table: table[first:last]).reshape(-1)
    return rows[place.start - first * width : place.stop - first * width]


def _measure(part: Part) -> Measured:
    x = part.read()
    return Measured(squares(x, part.chunk), _zeros_of(x, part.chunk) if part.slot == "params" else _NOT_COUNTED)


def _zeros_of(x: Array, chunk: Chunk) -> Array:
    """Return the number of zeros of each small tensor, or of the block."""
    is_zero = x == 0
    if not chunk.small:
        return np.array([np.count_nonzero(is_zero)])
    sizes = [size for each in chunk.parts for size in each.sizes]
    return np.bincount(np.repeat(np.arange(len(sizes)), sizes)[is_zero], minlength=len(sizes))


def _norms(state: State, parts: Iterable[Part], found: Iterable[Measured]) -> dict[str, float]:
    """Return the norm of each tensor's slot. The sums of a tensor's blocks are added in order."""
    norms: dict[str, float] = {}
    for (slot, tensors, is_small), several in groupby(zip(parts, found, strict=True), _tensors_of):
        sums = [measured.squares for _, measured in several]
        together = sums[0] if is_small else in_order(np.concatenate(sums))
        norms |= zip(tensors, np.sqrt(together[:, 0]).tolist(), strict=True)
        for i in np.flatnonzero((together < SMALLEST) | (together == np.inf)).tolist():
            norms[tensors[i]] = _norm_again(state, tensors[i], slot, float(together[i, 0]))
    return norms


def _tensors_of(pair: tuple[Part, Measured]) -> tuple[str, Sequence[str], bool]:
    part, _ = pair
    return part.slot, part.tensors, part.chunk.small


def _norm_again(state: State, tensor: str, slot: str, square_sum: float) -> float:
    """Return a norm whose square may have left the range of float64."""
    if not square_sum and state.entries[tensor].dtype_of(slot) != np.float64:
        return 0.0  # because no other number of a narrower dtype has a square that is 0
    return norm([state.caught_up(tensor) if slot == "params" else state.array(tensor, slot)], square_sum)


def _zero_shares(state: State, parts: Iterable[Part], found: Iterable[Measured]) -> dict[str, float]:
    zeros: dict[str, int] = {}
    for part, measured in zip(parts, found, strict=True):
        for tensor, count in zip(part.tensors, measured.zeros.tolist(), strict=True):
            zeros[tensor] = zeros.get(tensor, 0) + count
    sizes = {tensor: state.entries[tensor].spec.size for tensor in zeros}
    return {tensor: count / sizes[tensor] for tensor, count in zeros.items() if sizes[tensor]}
