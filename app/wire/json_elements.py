"""The elements of a tensor in JSON: numbers, and in gradients what stands for those that JSON has no number for.

Refusals say what is wrong and where in the lists. Knows no dtype and no tensor's name.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from app.wire.codec import MAX_DIMENSIONS
from optim_engine.arrays import Array
from optim_engine.fields import named

NUMBERS = frozenset({int, float})
SPECIAL = {None: np.nan, "NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
"""Stand-ins for numbers in gradients."""
SPECIAL_KINDS = NUMBERS | {str, type(None)}
FINITE = "a parameter that is not finite must be sent as base64, with its dtype and shape"
"""The way out."""


class NoElements(ValueError):
    """Says what is wrong, in words that follow the name of the tensor."""


def elements(value: Any, dtype: np.dtype[Any], *, special: bool) -> Array:
    """Return a number, or lists of numbers, in the shape of the lists; infinite where they are beyond the dtype.

    `special` allows what stands for a number. Raises `NoElements`.
    """
    shape: list[int] = []
    level = [value]
    while list in (kinds := set(map(type, level))):
        sizes = [len(inner) if type(inner) is list else -1 for inner in level]
        if sizes.count(sizes[0]) < len(sizes):
            raise _unlike(level, sizes, shape)
        if len(shape) == MAX_DIMENSIONS:
            raise NoElements(f"nests more than {MAX_DIMENSIONS} lists")
        shape.append(sizes[0])
        level = list(chain.from_iterable(level)) if len(level) > 1 else level[0]
    with np.errstate(over="ignore"):
        return numbers(level, kinds, shape, special=special).astype(dtype).reshape(shape)


def numbers(values: list[Any], kinds: set[type[Any]], shape: Sequence[int], *, special: bool, start: int = 0) -> Array:
    """Return the values, which are of those kinds, as float64. They stand in lists of that shape, from `start` on.

    Raises `NoElements`. NumPy would take `true` as 1, and one text among numbers would cost the memory of a text for
    each.
    """
    if special and not kinds <= NUMBERS and kinds <= SPECIAL_KINDS:
        values = [SPECIAL.get(value, value) if type(value) not in NUMBERS else value for value in values]
        kinds = set(map(type, values))
    if kinds <= NUMBERS:
        return np.array(values, np.float64)
    i = next(i for i, value in enumerate(values) if type(value) not in NUMBERS)
    raise NoElements(_no_number(values[i], at(start + i, shape), special))


def _no_number(value: Any, place: str, special: bool) -> str:
    if special:
        return f'has {shown(value)}{place}: write a number, or null, "NaN", "Infinity" or "-Infinity"'
    if value is None or (type(value) is str and value in SPECIAL):
        return f"has {value or 'NaN (null)'}{place}: {FINITE}"
    return f"has {shown(value)}{place}: write a number"


def _unlike(level: list[Any], sizes: list[int], shape: Sequence[int]) -> NoElements:
    i = next(i for i, size in enumerate(sizes) if size != sizes[0])
    first, other = (f"{_described(level[j], sizes[j])}{at(j, shape)}" for j in (0, i))
    return NoElements(f"has {other}, and {first}: all must be lists of one length, or all numbers")


def _described(inner: Any, size: int) -> str:
    return shown(inner) if size < 0 else f"a list of {size}"


def shown(value: Any) -> str:
    """Return the value as it stands in JSON, short."""
    return f"the text {value!r:.40}" if isinstance(value, str) else named(value)


def at(i: int, shape: Sequence[int]) -> str:
    """Return the place of the i-th element of that shape, in words that follow the element."""
    return f" at {[int(part) for part in np.unravel_index(i, shape)]}" if len(shape) else ""
