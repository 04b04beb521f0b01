"""The interface of codecs: a media type's way to write a step, its answer, and parameters.

A codec knows bytes and arrays; it knows no session and no HTTP.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, TypeVar

from app import plain
from app.errors import MalformedBody
from app.once import Once
from app.step import StepAnswer, StepRequest
from app.workers.push import Upload
from optim_engine.arrays import Array, Arrays
from optim_engine.fields import LARGEST_INTEGER, named

T = TypeVar("T")
Buffer: TypeAlias = bytes | memoryview

JOINED = 1 << 20
"""Bytes of an answer that are sent at a time."""
LARGEST_COPIED = 1 << 16
"""Bytes of a buffer that is copied so as to be sent with others."""
MAX_DIMENSIONS = 32
"""The dimensions that NumPy's broadcasting has long had; a tensor of more is refused."""
MAX_ELEMENTS = 1 << 48
LEAST_WEIGHT, MOST_WEIGHT = 1e-100, 1e100
"""The weights of contributions: their sum is finite, and their products with gradients keep all digits."""
NO_ROWS: Arrays = {}
NUMBER = re.compile("[-+.0-9A-Za-z]+", re.ASCII)
"""The characters of a number; also `nan` and `Infinity`."""


@dataclass(frozen=True, eq=False)
class Limits:
    """The limits of a body's content. They equal only themselves, which makes them a cheap key of a cache."""

    max_tensors: int
    max_name_length: int
    max_dimensions: int = MAX_DIMENSIONS
    max_json_depth: int = 64
    max_json_bytes: int = 16 << 20

    @property
    def most_parts(self) -> int:
        """Commas, quotes and brackets in a JSON text that describes tensors, without long lists of numbers."""
        return 250 * (self.max_tensors + 100)

    def check_name(self, name: str) -> None:
        if not 0 < len(name) <= self.max_name_length:
            raise MalformedBody(
                f"a tensor's name must have 1 to {self.max_name_length} characters (OPTIM_MAX_NAME_LENGTH): "
                f"{named(name)} has {len(name)}"
            )

    def check_count(self, count: int) -> None:
        if count > self.max_tensors:
            raise MalformedBody(
                f"{count} tensors are more than the {self.max_tensors} that a body may hold: send fewer at once, or "
                "raise OPTIM_MAX_TENSORS"
            )

    def check_dimensions(self, tensor: str, count: int) -> None:
        if count > self.max_dimensions:
            raise MalformedBody(
                f"tensor {tensor!r:.80} has {count} dimensions, the limit is {self.max_dimensions} "
                "(OPTIM_MAX_DIMENSIONS)",
                tensor=tensor,
            )


class Codec(ABC):
    """A codec. Reading raises `MalformedBody`, which names the tensor; writing returns buffers to send in order."""

    media_type: ClassVar[str]
    also: ClassVar[Sequence[str]] = ()
    """Other names of the media type."""

    @abstractmethod
    def read_step(self, body: Buffer, limits: Limits, once: Once) -> StepRequest: ...

    @abstractmethod
    def read_contribution(self, body: Buffer, limits: Limits, once: Once) -> Upload: ...

    @abstractmethod
    def write_answer(self, answer: StepAnswer, forms: Mapping[str, str]) -> list[Buffer]:
        """Write the answer; `forms` are those of its request. An answer without parameters has no place for them."""

    def check_answer(self, arrays: Iterable[Array], limits: Limits) -> None:  # noqa: B027 - most forms have no limit
        """Raise `NotAcceptable` where arrays like these would be too long an answer."""

    @abstractmethod
    def read_params(self, body: Buffer, limits: Limits) -> dict[str, Array]: ...

    @abstractmethod
    def write_params(self, params: Arrays, rows: Arrays = NO_ROWS) -> list[Buffer]:
        """Write parameters; of a tensor in `rows`, those rows alone."""


def joined(buffers: Iterable[Buffer]) -> list[Buffer]:
    """Return the buffers, small ones joined: each send costs the event loop as much as `JOINED` bytes."""
    sent, waiting, nbytes = list[Buffer](), list[Buffer](), 0
    for buffer in buffers:
        if len(buffer) >= LARGEST_COPIED:
            sent += [*_join(waiting), buffer]
            waiting, nbytes = [], 0
            continue
        waiting.append(buffer)
        nbytes += len(buffer)
        if nbytes >= JOINED:
            sent += _join(waiting)
            waiting, nbytes = [], 0
    return sent + _join(waiting)


def _join(buffers: list[Buffer]) -> list[Buffer]:
    return [b"".join(buffers)] if buffers else []


def checked_step(step: object) -> int | None:
    """Return a step's number. Raises `MalformedBody`."""
    if step is None or (isinstance(step, int) and not isinstance(step, bool) and 1 <= step <= LARGEST_INTEGER):
        return step
    raise MalformedBody(f"`step` must be a whole number from 1 to {LARGEST_INTEGER}, not {named(step)}")


def checked_lr(lr: float | None) -> float | None:
    """Return a step's own learning rate. Raises `MalformedBody`."""
    if lr is None or 0 <= lr < float("inf"):
        return lr
    raise MalformedBody(f"`lr` must be a finite number of at least 0, not {plain.number(lr)}")


def checked_grad_scale(scale: float | None) -> float:
    """Return the divisor of a step's gradients. Raises `MalformedBody`."""
    if scale is None:
        return 1.0
    if 0 < scale < float("inf"):
        return scale
    raise MalformedBody(f"`grad_scale` must be a finite number above 0, not {plain.number(scale)}")


def checked_epoch(epoch: object) -> int:
    """Return the epoch of a contribution. Raises `MalformedBody`."""
    if isinstance(epoch, int) and not isinstance(epoch, bool) and 1 <= epoch <= LARGEST_INTEGER:
        return epoch
    if epoch is None:
        raise MalformedBody("`epoch` is needed: the number that the worker got when it joined (PUT …/workers/{worker})")
    raise MalformedBody(f"`epoch` must be a whole number from 1 to {LARGEST_INTEGER}, not {named(epoch)}")


def checked_weight(weight: float | None) -> float:
    """Return the weight of a contribution. Raises `MalformedBody`."""
    if weight is None:
        return 1.0
    if LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        return weight
    raise MalformedBody(
        f"`weight` must be a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}, not {plain.number(weight)}: such as the "
        "number of tokens"
    )


def checked_base_step(step: object) -> int | None:
    """Return the step of the parameters that a contribution was computed from. Raises `MalformedBody`."""
    if step is None or (isinstance(step, int) and not isinstance(step, bool) and 0 <= step <= LARGEST_INTEGER):
        return step
    raise MalformedBody(f"`base_step` must be a whole number from 0 to {LARGEST_INTEGER}, not {named(step)}")


def checked_shape(tensor: str, shape: object) -> tuple[int, ...]:
    """Return a shape whose sizes an address can count, even if one of them is 0. Raises `MalformedBody`."""
    if not isinstance(shape, list):
        wrong = named(shape)
    elif len(shape) > MAX_DIMENSIONS:
        wrong = "a longer one"
    elif any(type(size) is not int or size < 0 for size in shape) or math.prod(filter(None, shape)) >= MAX_ELEMENTS:
        wrong = f"[{', '.join(map(named, shape)):.80}]"
    else:
        return tuple(shape)
    raise MalformedBody(
        f"tensor {tensor!r:.80}: its shape must be a list of up to {MAX_DIMENSIONS} sizes, not {wrong}", tensor=tensor
    )


def number_of(metadata: Mapping[str, str], name: str, kind: Callable[[str], T]) -> T | None:
    """Return a number of a step's metadata. Raises `MalformedBody`.

    Python alone would also take other alphabets' digits, underscores and spaces.
    """
    if name not in metadata:
        return None
    text = metadata[name]
    try:
        if not NUMBER.fullmatch(text):
            raise ValueError
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise MalformedBody(f"__metadata__ {name!r} must be {expected}, not {text!r:.40}") from None
