"""The interface of an update rule: one typed object in one file, and a row in `optimizers.py`.

A rule has settings, slots (the values that it keeps for each tensor) and two sets of equations: `advance` updates the
slots with a gradient, `apply` computes how far the parameter moves. A rule may also `measure` a whole tensor before,
`shrink` the parameter by a share of its own, and let slots `follow` the new parameter. The walk (`walk.py`) does the
rest: clipping, `maximize`, weight decay, caution and rounding.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.fields import Checked, number

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(Checked):
    """The settings that all rules share. Each rule's file has a subclass with the others."""

    lr: float = number(1e-3, at_least=0)
    weight_decay: float = number(0.0, at_least=0)

    @property
    def maximize(self) -> bool:
        """Return whether the step goes up the gradient; a field in the rules that support it."""
        return False

    @property
    def cautious(self) -> bool:
        """Return whether elements that would go up their gradient are held back (`cautious.py`); a field in some
        rules."""
        return False

    @property
    def decoupled(self) -> bool:
        """Return whether weight decay shrinks the parameter directly; otherwise it is added to the gradient."""
        return False


H = TypeVar("H", bound=Hyperparameters)


class Unit(Enum):
    """The part of a run that a rule updates at a time."""

    BLOCK = "block"
    """Any part of a flat vector, because each element is updated alone. Several small tensors may share a block."""
    TENSOR = "tensor"
    """A whole tensor, in its shape."""


def elements(shape: Shape) -> Shape:
    """Return the shape of a slot with one value for each element."""
    return shape


def rows(shape: Shape) -> Shape:
    """Return the shape of a slot with one value for each row of a matrix, or of each matrix in a stack."""
    return shape[:-1]


def columns(shape: Shape) -> Shape:
    """Return the shape of a slot with one value for each column of a matrix, or of each matrix in a stack."""
    return (*shape[:-2], *shape[-1:])


def scalar(shape: Shape) -> Shape:
    """Return the shape of a slot with one value for the whole tensor."""
    return ()


@dataclass(frozen=True, slots=True)
class Slot:
    """An array that is kept for a tensor between its updates; it starts as zeros.

    `shape_of` returns its shape for a tensor's shape. `dtype` is `None` for the compute dtype (`arrays.py`). A rule
    whose unit is the block may only have slots of `elements` and `scalar`.
    """

    name: str
    shape_of: Callable[[Shape], Shape] = elements
    dtype: np.dtype[Any] | None = None
    only_replay: bool = False
    """True if `apply` needs it because the old slots are gone. A session that holds its parameters does not keep it: it
    answers a replay from them, and a step gets scratch memory for the slot."""


class Counts(NamedTuple):
    """Counts of updates that differ from row to row: the different ones, and the index among them for each element."""

    distinct: tuple[int, ...]
    indices: Array


class At(NamedTuple, Generic[H]):
    """The numbers of one update: the settings h, the tensors' count of updates t (from 1), and the learning rate γ."""

    h: H
    t: int
    γ: float
    sizes: Sequence[int]
    """The number of elements of each tensor in the block, in order."""
    measured: float = 0.0
    """The number that `measure` returned."""
    shared: Mapping[str, float] = {}
    """The numbers of a `SharingRule`: before the step in `terms`, after it in `advance`."""
    counts: Counts | None = None
    """The rows' own counts, where they differ; t is then the largest."""

    def each(self, numbers: Callable[[int], tuple[float, ...]], dtype: np.dtype[Any]) -> tuple[Any, ...]:
        """Return `numbers(t)`; where rows differ, those of each element's own count, rounded once to `dtype`."""
        if self.counts is None:
            return numbers(self.t)
        table = np.array([numbers(t) for t in self.counts.distinct]).astype(dtype)
        return tuple(column.take(self.counts.indices) for column in table.T)

    def spread(self, numbers: Array, dtype: np.dtype[Any]) -> Any:
        """Return `numbers`, one for each tensor, repeated for the tensor's elements and rounded once to `dtype`."""
        return np.repeat(numbers.astype(dtype), self.sizes) if len(self.sizes) > 1 else dtype.type(numbers.item())


class Rule(ABC, Generic[H]):
    """An update rule: its settings, its slots and its equations.

    All arrays have the compute dtype (float32 or float64). They are flat if `unit` is the block, otherwise in the
    tensor's shape. The equations write only into `new`, `out` and `room`; `new` may be the same memory as `old`.
    """

    reference: str = "torch 2.13"
    """The package whose names, defaults and numerics it has."""
    settings: type[H]
    """The class of its hyperparameters: names, defaults and ranges."""
    keeps: tuple[Slot, ...] = ()
    """All slots that it may keep for a tensor, in the order of the memory (`layout.py`)."""
    moments: tuple[str, str] = ("m", "v")
    """The slots of its first and its second moment, where it keeps such: a mean of g (or a momentum), and one of g²."""
    unit: Unit = Unit.BLOCK
    bits: Literal["everywhere", "machine"] = "everywhere"
    """`machine` if its results have the same bits only on the same machine."""
    wants_squares: bool = False
    """True if `advance` expects g² in `room`."""
    decays_biases: bool = False
    """True if tensors named `*bias` decay like all others when no groups are given."""
    evaluates: bool = False
    """True if the parameters to evaluate with are not those that steps answer: `evaluated` returns them."""

    @cached_property
    def only_replay(self) -> tuple[str, ...]:
        """Return the names of the slots that a session does not keep if it holds its parameters."""
        return tuple(slot.name for slot in self.keeps if slot.only_replay)

    def unit_of(self, h: H) -> Unit:
        """Return the unit under those settings: caution needs whole tensors."""
        return Unit.TENSOR if h.cautious else self.unit

    def slots(self, h: H, shape: Shape) -> tuple[str, ...]:
        """Return the names of the slots that a tensor of that shape needs, in the order of `keeps`."""
        return tuple(slot.name for slot in self.keeps)

    def refusal(self, shape: Shape) -> str:
        """Return why the rule cannot update a tensor of that shape, or an empty string if it can."""
        return ""

    def refuses_rows(self, h: H) -> str:
        """Return why a gradient of some rows cannot update a tensor, with the way out; an empty string if it can."""
        return "takes only whole gradients: send zeros for the other rows, or take adamw"

    def shrink(self, at: At[H]) -> float:
        """Return the share of θ that is taken before what `apply` takes: that of decoupled weight decay."""
        return at.γ * at.h.weight_decay if at.h.decoupled else 0.0

    def measure(self, at: At[H], θ: Array, g: Array) -> float:
        """Return a number of a whole tensor that both sets of equations need, such as a norm. Not called if the unit is
        the block."""
        return 0.0

    @abstractmethod
    def advance(self, at: At[H], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        """Fill the slots `new` from the slots `old` and the gradient g; `room` is scratch memory like g.

        `old` has the parameter too, as `params`."""

    @abstractmethod
    def apply(self, at: At[H], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        """Fill `out` with what is subtracted from θ, by the advanced slots. The walk adds decoupled decay."""

    def evaluated(self, h: H, θ: Array, slots: Arrays) -> Array:
        """Return the parameters to evaluate with, from the ones that steps answer and the slots."""
        return θ

    def follow(self, at: At[H], θ: Array, old: Arrays, new: Arrays) -> None:
        """Fill the slots of `new` that follow the new parameter θ before its rounding. A replay needs none."""


class SharingRule(Rule[H]):
    """A rule by which all tensors of a session share some numbers, which need sums over all tensors of a step.

    Each of its tensors keeps the numbers in slots. `apply` reads them there, because a replay has nothing else.
    """

    shared: tuple[str, ...] = ()
    """The slots of the numbers, each `scalar` in float64."""
    sums: int = 0
    """The number of sums that it needs."""
    common: tuple[str, ...] = ()
    """The hyperparameters that must be the same for all its tensors."""

    @abstractmethod
    def initial(self, h: H) -> Mapping[str, float]:
        """Return the numbers before the rule's first step in a session."""

    @abstractmethod
    def terms(self, at: At[H], θ: Array, g: Array, old: Arrays, out: Array) -> None:
        """Fill each row of `out`, which is float64, with what is to be summed over all elements of all tensors."""

    @abstractmethod
    def share(self, h: H, before: Mapping[str, float], sums: Sequence[float]) -> Mapping[str, float]:
        """Return the numbers after a step with these sums of the terms."""
