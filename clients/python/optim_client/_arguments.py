"""Checks of arguments before anything is sent: an error names the argument, its value and what is expected."""

import math
import operator
from collections.abc import Collection, Iterable, Mapping
from typing import Any, SupportsFloat, SupportsIndex, TypeVar

import numpy as np
from numpy.typing import ArrayLike

V = TypeVar("V")

LONGEST_KEY = 255
"""The most characters of an idempotency key."""


def number(name: str, value: SupportsFloat) -> float:
    """Return the number as a float, also one of NumPy or of another library. Raises `TypeError`."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: torch, of more than one element
        raise TypeError(f"{name} must be a number, not {value!r:.80}") from None


def whole(name: str, value: SupportsIndex) -> int:
    """Return the whole number. Raises `TypeError`."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {value!r:.80}") from None


def mapping(name: str, value: Mapping[str, V], example: str) -> Mapping[str, V]:
    """Return the mapping. Raises `TypeError`, which shows the example."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict, such as {example}, not {value!r:.80}")
    return value


def names(name: str, value: Collection[str]) -> list[str]:
    """Return a list of names. Raises `TypeError`, also for a string, which would be taken letter by letter."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise TypeError(f"{name} must be a list of names, such as ['w'], not {value!r:.80}")
    return list(value)


def indices(name: str, value: ArrayLike) -> list[int]:
    """Return a list of whole numbers. Raises `TypeError`."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: torch, of a tensor on another device
        array = np.empty(())
    if array.ndim == 1 and (array.dtype.kind in "iu" or not array.size):
        found: list[int] = array.tolist()
        return found
    raise TypeError(f"{name} must be a list of whole numbers, such as [3, 17], not {value!r:.80}")


def idempotency_key(value: str) -> str:
    """Return the key. Raises `TypeError`, and `ValueError` for one that no header can carry."""
    if not isinstance(value, str):
        raise TypeError(f"idempotency_key must be a string, not {value!r:.80}")
    if not 1 <= len(value) <= LONGEST_KEY or not (value.isascii() and value.isprintable()) or '"' in value:
        raise ValueError(
            f"idempotency_key must be 1 to {LONGEST_KEY} printable ASCII characters without a double quote, such as "
            f"'run-7', not {value!r:.80}"
        )
    return value


def as_json(name: str, value: object) -> Any:
    """Return a setting as JSON has it. Raises `TypeError`, and `ValueError` for NaN and infinity, which JSON lacks."""
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case float():
            raise ValueError(f"{name} must be a finite number, not {value}")
        case Mapping():
            return {key: as_json(f"{name}.{key}", member) for key, member in value.items()}
        case list() | tuple():
            return [as_json(f"{name}[{index}]", member) for index, member in enumerate(value)]
    way_out = ": convert it with .tolist()" if hasattr(value, "tolist") and not isinstance(value, np.generic) else ""
    raise TypeError(f"{name} must be a number, a string, a boolean, a list or a dict, not {value!r:.80}{way_out}")
