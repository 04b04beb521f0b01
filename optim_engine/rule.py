"""The contract of an update rule: one typed object in one file, and a row in `optimizers.py`.

A rule knows its settings, what it keeps for a tensor, and two sets of equations: `advance` takes a gradient into
what is kept, `apply` says how far the parameter moves. Clipping, `maximize`, weight decay and rounding are the walk's.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.fields import Checked, number

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(Checked):
    """The settings that every rule has. A rule's own class in its own file adds the others."""

    lr: float = number(1e-3, at_least=0)
    weight_decay: float = number(0.0, at_least=0)

    @property
    def maximize(self) -> bool:
        """True where the rule climbs: a field of the rules that can."""
        return False

    @property
    def decoupled(self) -> bool:
        """True where weight decay shrinks the parameter itself: else it goes through the gradient."""
        return False


H = TypeVar("H", bound=Hyperparameters)


class Unit(Enum):
    """The part of a run that a rule is handed at a time."""

    BLOCK = "block"
    """Any cut of a flat vector: no element knows another. Small tensors may stand in it side by side."""
    TENSOR = "tensor"
    """A whole tensor, in its shape."""


def elements(shape: Shape) -> Shape:
    """Return the shape of a slot that has one value for each element."""
    return shape


def rows(shape: Shape) -> Shape:
    """Return the shape of a slot that has one value for each row of a matrix, or of each matrix of a stack."""
    return shape[:-1]


def columns(shape: Shape) -> Shape:
    """Return the shape of a slot that has one value for each column."""
    return (*shape[:-2], *shape[-1:])


def scalar(shape: Shape) -> Shape:
    """Return the shape of a slot that has one value for the whole tensor."""
    return ()


@dataclass(frozen=True, slots=True)
class Slot:
    """A value that is kept for a tensor between its updates; it begins as zeros.

    `shape_of` makes its shape of the tensor's; `dtype` is its own, where it is not the one that is computed in.
    A rule whose unit is the block keeps values for elements, and scalars.
    """

    name: str
    shape_of: Callable[[Shape], Shape] = elements
    dtype: np.dtype[Any] | None = None


class At(NamedTuple, Generic[H]):
    """The place of an update: its settings, its number t for these tensors (from 1), and the learning rate γ."""

    h: H
    t: int
    γ: float
    sizes: Sequence[int]
    """Elements of each tensor that the rule is handed, one after the other."""

    def spread(self, numbers: Array, dtype: np.dtype[Any]) -> Any:
        """Return one number for each tensor as a factor for their elements, rounded once to that dtype."""
        return np.repeat(numbers.astype(dtype), self.sizes) if len(self.sizes) > 1 else dtype.type(numbers[0])


class Rule(ABC, Generic[H]):
    """An update rule. All arrays are in the dtype that is computed in, flat or in the tensor's shape as `unit` says.

    The equations write into `new`, `out` and `room` alone; `new` may be `old`.
    """

    settings: type[H]
    """Its hyperparameters: names, defaults and ranges."""
    keeps: tuple[Slot, ...] = ()
    """All that it may keep for a tensor."""
    unit: Unit = Unit.BLOCK
    bits: Literal["everywhere", "machine"] = "everywhere"
    """`machine` where its results have the same bits on the same machine alone."""
    wants_squares: bool = False
    """True where `room` is to have g² when `advance` is called."""
    decays_biases: bool = False
    """True where tensors named `*bias` decay like all others, as long as no groups are given."""

    def slots(self, h: H, shape: Shape) -> tuple[str, ...]:
        """Return the names of the slots that a tensor of that shape needs, in the order of `keeps`."""
        return tuple(slot.name for slot in self.keeps)

    def refusal(self, shape: Shape) -> str:
        """Return why a tensor of that shape cannot be taken; an empty text where it can."""
        return ""

    @abstractmethod
    def advance(self, at: At[H], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        """Take the gradient into the slots: `new` from `old`."""

    @abstractmethod
    def apply(self, at: At[H], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        """Write into `out` what the parameter loses, by the advanced slots. Decoupled decay comes on top."""
