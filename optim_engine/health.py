"""The health of a state's tensors, computed when somebody asks: the norms of each parameter and of its moments.

A large tensor is read block by block, and small ones are packed, so that it takes little memory and few calls. The
sums are those of docs/numerics.md, so the norms have the same bits on every machine.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import inf, isnan, prod, sqrt
from typing import NamedTuple

import numpy as np

from optim_engine.arrays import Array
from optim_engine.config import Config
from optim_engine.machine import ALONE, Machine
from optim_engine.norms import SMALLEST, norm
from optim_engine.plan import LARGEST_PACK
from optim_engine.state import State
from optim_engine.sums import SMALL, Chunk, chunks_of, in_order, squares


@dataclass(frozen=True, slots=True)
class Health:
    """The norms of a tensor's parameter and of its first and second moment, in float64, and the share of the
    parameter's elements that are 0. `None` stands for what the state does not hold, and for a share of no elements."""

    param_norm: float | None
    m_norm: float | None
    v_norm: float | None
    zero_share: float | None


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
def health_of(config: Config, state: State, machine: Machine = ALONE) -> dict[str, Health]:
    """Return the health of each tensor. Parameters are as the next step will find them."""
    groups = config.groups_of(state.entries, limited=False)
    moments = {tensor: config.rule_of(group).moments for tensor, group in groups.items()}
    slots = [(tensor, slot) for tensor, two in moments.items() for slot in ("params", *two)]
    wanted = [(tensor, slot) for tensor, slot in slots if slot in state.entries[tensor].slots]
    parts = list(_parts(state, wanted))
    elements = sum(part.chunk.place.stop - part.chunk.place.start for part in parts)
    found = machine.map(_measure, parts, elements)
    norms, zeros = _norms(state, parts, found), _zeros(parts, found)
    return {
        tensor: Health(
            norms.get((tensor, "params")),
            norms.get((tensor, first)),
            norms.get((tensor, second)),
            _share(zeros.get(tensor), state.entries[tensor].spec.size),
        )
        for tensor, (first, second) in moments.items()
    }


def _share(zeros: int | None, size: int) -> float | None:
    return None if zeros is None or not size else zeros / size


def _parts(state: State, wanted: Iterable[tuple[str, str]]) -> Iterator[Part]:
    """Yield the parts of all wanted (tensor, slot), so that those of one slot of a large tensor follow each other."""
    small: dict[tuple[str, str], list[str]] = {}
    for tensor, slot in wanted:
        entry = state.entries[tensor]
        is_late = slot == "params" and "row_decay" in entry.slots
        if entry.spec.size < SMALL and not is_late:
            small.setdefault((slot, entry.dtype_of(slot).name), []).append(tensor)
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


def _norms(state: State, parts: Sequence[Part], found: Sequence[Measured]) -> dict[tuple[str, str], float]:
    """Return the norm of each tensor's slots. The sums of a tensor's blocks are added in order."""
    sums: dict[tuple[str, str], list[Array]] = {}
    for part, measured in zip(parts, found, strict=True):
        rows = measured.squares[:, None] if part.chunk.small else [measured.squares]
        for tensor, row in zip(part.tensors, rows, strict=True):
            sums.setdefault((tensor, part.slot), []).append(row)
    return {
        (tensor, slot): _norm(state, tensor, slot, float(in_order(np.concatenate(rows))[0, 0]))
        for (tensor, slot), rows in sums.items()
    }


def _norm(state: State, tensor: str, slot: str, square_sum: float) -> float:
    """Return the root, or where squares left the range of float64, the norm by another pass."""
    if SMALLEST <= square_sum < inf or isnan(square_sum):
        return sqrt(square_sum)
    if not square_sum and state.entries[tensor].dtype_of(slot) != np.float64:
        return 0.0  # because no other number of a narrower dtype has a square that is 0
    return norm([state.caught_up(tensor) if slot == "params" else state.array(tensor, slot)], square_sum)


def _zeros(parts: Sequence[Part], found: Sequence[Measured]) -> Mapping[str, int]:
    zeros: dict[str, int] = {}
    for part, measured in zip(parts, found, strict=True):
        if part.slot == "params":
            counts = measured.zeros.tolist()
            for tensor, count in zip(part.tensors, counts, strict=True):
                zeros[tensor] = zeros.get(tensor, 0) + count
    return zeros
