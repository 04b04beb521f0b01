"""Typed, ranged fields for settings, and reading a dataclass of them from a mapping.

A field says once what it may hold; an object with a value outside of that cannot be constructed. Bounds are in the
field's metadata, so that a schema can be written from them.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import MISSING, field
from typing import Any, TypeVar

from optim_engine.errors import InvalidConfig


def number(
    default: float | Any = MISSING,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> Any:
    """A finite float within bounds; a whole number is taken as well, a bool is not."""

    def read(where: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidConfig(where, f"must be a number, not {_named(value)}")
        if not (math.isfinite(value) and at_least <= value <= at_most and above < value < below):
            raise InvalidConfig(where, f"{value} is out of range: {_range(at_least, above, below, at_most)}")
        return float(value)

    schema = {"type": "number", "minimum": at_least, "exclusiveMinimum": above}
    schema |= {"exclusiveMaximum": below, "maximum": at_most}
    return field(default=default, metadata={"read": read, "schema": _bounded(schema)})


def integer(default: int | Any = MISSING, *, at_least: int) -> Any:
    """A whole number from `at_least` to 2⁵³."""
    largest = 2**53

    def read(where: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidConfig(where, f"must be a whole number, not {_named(value)}")
        if not at_least <= value <= largest:
            raise InvalidConfig(where, f"{value} is out of range: at least {at_least} and at most {largest}")
        return value

    return field(default=default, metadata={"read": read, "schema": {"type": "integer", "minimum": at_least}})


def flag(default: bool) -> Any:
    """True or false."""

    def read(where: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise InvalidConfig(where, f"must be true or false, not {_named(value)}")
        return value

    return field(default=default, metadata={"read": read, "schema": {"type": "boolean"}})


def coefficients(default: tuple[float, float]) -> Any:
    """Two numbers in [0, 1)."""

    def read(where: str, value: object) -> tuple[float, float]:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise InvalidConfig(where, f"must be two numbers, not {_named(value)}")
        read_one = number(at_least=0, below=1).metadata["read"]
        return read_one(f"{where}[0]", value[0]), read_one(f"{where}[1]", value[1])

    item = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    schema = {"type": "array", "items": item, "minItems": 2, "maxItems": 2}
    return field(default=default, metadata={"read": read, "schema": schema})


class Checked:
    """A dataclass whose fields are made by the functions above: one with a value out of range cannot be constructed."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, f.name, f.metadata["read"](f.name, getattr(self, f.name)))


C = TypeVar("C", bound=Checked)


def read_fields(kind: type[C], values: object, *, base: C | None = None) -> C:
    """An object of `kind` from a mapping, with `base`'s values (or the defaults) for what the mapping does not say.

    Raises `InvalidConfig` for a key that `kind` does not have, a missing one, a wrong type or a value out of range.
    """
    if not isinstance(values, Mapping):
        raise InvalidConfig("", f"must be an object, not {_named(values)}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise InvalidConfig(str(key), f"there is no such setting here; there is {', '.join(fields) or 'none'}")
    inherited = {name: getattr(base, name) for name in fields} if base is not None else {}
    given = inherited | dict(values)
    for name, f in fields.items():
        if name not in given and f.default is MISSING:
            raise InvalidConfig(name, "is needed")
    return kind(**given)


def field_schema(kind: type[object]) -> dict[str, Any]:
    """The JSON schema of what `read_fields` takes for `kind`."""
    properties = {}
    required = []
    for f in dataclasses.fields(kind):  # type: ignore[arg-type]
        properties[f.name] = dict(f.metadata["schema"])
        if f.default is MISSING:
            required.append(f.name)
        else:
            properties[f.name]["default"] = list(f.default) if isinstance(f.default, tuple) else f.default
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | {"required": required} if required else schema


def _named(value: object) -> str:
    """The value, short enough to be shown; what is nested is named by its type alone."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)[:80]
    return {"list": "a list", "dict": "an object"}.get(type(value).__name__, type(value).__name__)


def _range(at_least: float, above: float, below: float, at_most: float) -> str:
    words = [("at least", at_least), ("above", above), ("below", below), ("at most", at_most)]
    return " and ".join(f"{word} {bound:g}" for word, bound in words if math.isfinite(bound)) or "must be finite"


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if not isinstance(value, float) or math.isfinite(value)}
