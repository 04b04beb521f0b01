"""Typed, ranged fields for settings, and reading a dataclass of them from a mapping.

A field says once what it may hold; an object with a value outside of that cannot be constructed. Each field's metadata
has a JSON schema of the same bounds.
"""

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, field
from typing import Any, TypeVar

from optim_engine.errors import InvalidConfig

LARGEST_INTEGER = 2**53
"""Beyond it a float skips whole numbers."""


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
            raise InvalidConfig(where, f"must be a number, not {named(value)}")
        if not (at_least <= value <= at_most and above < value < below and abs(value) <= sys.float_info.max):
            raise InvalidConfig(where, f"{named(value)} is out of range: {_bounds(at_least, above, below, at_most)}")
        return float(value)

    schema = {"type": "number", "minimum": at_least, "exclusiveMinimum": above}
    schema |= {"exclusiveMaximum": below, "maximum": at_most}
    return _field(default, read, _bounded(schema))


def integer(default: int | Any = MISSING, *, at_least: int, at_most: int = LARGEST_INTEGER) -> Any:
    """A whole number within bounds, and up to 2⁵³."""

    def read(where: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidConfig(where, f"must be a whole number, not {named(value)}")
        if not at_least <= value <= at_most:
            raise InvalidConfig(where, f"{named(value)} is out of range: at least {at_least}, at most {at_most}")
        return value

    return _field(default, read, {"type": "integer", "minimum": at_least, "maximum": at_most})


def flag(default: bool) -> Any:
    """True or false."""

    def read(where: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise InvalidConfig(where, f"must be true or false, not {named(value)}")
        return value

    return _field(default, read, {"type": "boolean"})


def choice(*names: str) -> Any:
    """One of these texts."""

    def read(where: str, value: object) -> str:
        if value not in names:
            raise InvalidConfig(where, f"{named(value)} is unknown; there is {', '.join(names)}")
        return str(value)

    return _field(MISSING, read, {"type": "string", "enum": [*names]})


def coefficients(default: tuple[float, float]) -> Any:
    """Two numbers in [0, 1)."""
    return several(default, *[number(at_least=0, below=1)] * 2)


def several(default: tuple[Any, ...], *each: Any) -> Any:
    """A list of so many: what each of those fields holds."""
    count = {2: "two", 3: "three"}[len(each)]

    def read(where: str, value: object) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != len(each):
            raise InvalidConfig(where, f"must be {count} numbers, not {named(value)}")
        return tuple(
            one.metadata["read"](f"{where}[{i}]", x) for i, (one, x) in enumerate(zip(each, value, strict=True))
        )

    schemas = [one.metadata["schema"] for one in each]
    items = {"items": schemas[0]} if all(schema == schemas[0] for schema in schemas) else {"prefixItems": schemas}
    return _field(default, read, {"type": "array", **items, "minItems": len(each), "maxItems": len(each)})


def optional(given: Any) -> Any:
    """What that field holds, or `None`, which is the default."""

    def read(where: str, value: object) -> object:
        return None if value is None else given.metadata["read"](where, value)

    return _field(None, read, {"anyOf": [given.metadata["schema"], {"type": "null"}]})


class Checked:
    """A dataclass whose fields are made by the functions above: one with a value out of range cannot be constructed."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, f.name, f.metadata["read"](f.name, getattr(self, f.name)))


C = TypeVar("C", bound=Checked)


def read_fields(where: str, kind: type[C], values: object, *, base: C | None = None) -> C:
    """An object of `kind` from a mapping, with `base`'s values (or the defaults) for what the mapping does not say.

    Raises `InvalidConfig` for a key that `kind` does not have, a missing one, a wrong type or a value out of range,
    with its place within `where`.
    """
    if not isinstance(values, Mapping):
        raise InvalidConfig(where, f"must be an object, not {named(values)}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given = ({name: getattr(base, name) for name in fields} if base else {}) | dict(values)
    try:
        for name in given:
            if name not in fields:
                there = ", ".join(fields) or "none"
                raise InvalidConfig(str(name)[:80], f"there is no such setting here; there is {there}")
        for name, f in fields.items():
            if name not in given and f.default is MISSING:
                raise InvalidConfig(name, "is needed")
        return kind(**given)
    except InvalidConfig as error:
        raise error.within(where) from None


def plain(settings: Checked | Mapping[str, Any]) -> dict[str, Any]:
    """The settings by name, as they stand in JSON."""
    values = dict(settings) if isinstance(settings, Mapping) else dataclasses.asdict(settings)  # type: ignore[call-overload]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


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


def _field(default: Any, read: Callable[[str, object], object], schema: dict[str, Any]) -> Any:
    return field(default=default, metadata={"read": read, "schema": schema})


def named(value: object) -> str:
    """The value, short enough to be shown; what is nested is named by its type alone."""
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return f"a whole number of {value.bit_length()} bits"
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)[:80]
    return {"list": "a list", "dict": "an object"}.get(type(value).__name__, type(value).__name__)


def _bounds(at_least: float, above: float, below: float, at_most: float) -> str:
    words = [("at least", at_least), ("above", above), ("below", below), ("at most", at_most)]
    return ", ".join(["finite", *(f"{word} {bound:g}" for word, bound in words if math.isfinite(bound))])


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if not isinstance(value, float) or math.isfinite(value)}
