"""Typed, ranged fields for settings, and reading them from a mapping.

A field says once what it may hold, with a reader and a JSON schema of the same bounds. A `Checked` dataclass is made of
such fields and cannot be constructed with a value out of range. A dataclass whose fields are made by `setting` is a
table of settings: `settings_of` returns its rows.
"""

import dataclasses
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, TypeAlias, TypeVar

from optim_engine.errors import InvalidConfig

LARGEST_INTEGER = 2**53
"""A float skips whole numbers beyond this one."""
BEYOND_FLOAT64 = ("Infinity", "-Infinity")
"""The texts that the service reads for a number beyond float64."""

Read: TypeAlias = Callable[[str, object], Any]
"""Returns the value of a setting, given its place and what came in JSON. Raises `InvalidConfig`."""


def number(
    default: float | Any = MISSING,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> Any:
    """Return a field for a finite float within bounds. It takes a whole number as well, but no bool."""

    def read(where: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidConfig(where, f"must be a number, not {named(value)}")
        if not (at_least <= value <= at_most and above < value < below and abs(value) <= sys.float_info.max):
            raise InvalidConfig(where, f"{named(value)} is out of range: {_bounds(at_least, above, below, at_most)}")
        return float(value)

    schema = {"type": "number", "minimum": at_least, "exclusiveMinimum": above}
    schema |= {"exclusiveMaximum": below, "maximum": at_most}
    return custom(default, read, _bounded(schema))


def integer(default: int | Any = MISSING, *, at_least: int, at_most: int = LARGEST_INTEGER) -> Any:
    """Return a field for a whole number within bounds, up to 2⁵³."""

    def read(where: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidConfig(where, f"must be a whole number, not {named(value)}")
        if not at_least <= value <= at_most:
            raise InvalidConfig(where, f"{named(value)} is out of range: at least {at_least}, at most {at_most}")
        return value

    return custom(default, read, {"type": "integer", "minimum": at_least, "maximum": at_most})


def flag(default: bool, *, later: bool = False) -> Any:
    """Return a field for true or false. `later`: newer than the format of documents, as in `Setting`."""

    def read(where: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise InvalidConfig(where, f"must be true or false, not {named(value)}")
        return value

    return custom(default, read, {"type": "boolean"}, later=later)


def choice(*names: str | None, default: str | Any = MISSING) -> Any:
    """Return a field for one of these texts; `None` among them is JSON's `null`."""

    def read(where: str, value: object) -> object:
        check_known(where, value, names)
        return value

    return custom(default, read, {"type": ["string", "null"] if None in names else "string", "enum": [*names]})


def check_known(where: str, value: object, names: Iterable[str | None]) -> None:
    """Raise `InvalidConfig` unless the value is one of the names."""
    if value not in (known := list(names)):
        there = ", ".join(name for name in known if name)
        raise InvalidConfig(where, f"{named(value)} is unknown; expected one of {there}")


def coefficients(default: tuple[float, ...]) -> Any:
    """Return a field for as many numbers in [0, 1)."""
    return several(default, *[number(at_least=0, below=1)] * len(default))


def several(default: tuple[Any, ...], *each: Any) -> Any:
    """Return a field for a list with one value for each of those fields."""
    count = {2: "two", 3: "three"}[len(each)]

    def read(where: str, value: object) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != len(each):
            got = f"a list of {len(value)}" if isinstance(value, (list, tuple)) else named(value)
            raise InvalidConfig(where, f"must be {count} numbers, not {got}")
        return tuple(
            one.metadata["read"](f"{where}[{i}]", x) for i, (one, x) in enumerate(zip(each, value, strict=True))
        )

    schemas = [one.metadata["schema"] for one in each]
    items = {"items": schemas[0]} if all(schema == schemas[0] for schema in schemas) else {"prefixItems": schemas}
    return custom(default, read, {"type": "array", **items, "minItems": len(each), "maxItems": len(each)})


def many(each: Any, *, at_least: int, at_most: int) -> Any:
    """Return a field for a list of values that the given field takes, with a number of them within bounds."""

    def read(where: str, value: object) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or not at_least <= len(value) <= at_most:
            got = f"a list of {len(value)}" if isinstance(value, (list, tuple)) else named(value)
            raise InvalidConfig(where, f"must be a list of at least {at_least}, at most {at_most} numbers, not {got}")
        return tuple(each.metadata["read"](f"{where}[{i}]", x) for i, x in enumerate(value))

    items = each.metadata["schema"]
    return custom(MISSING, read, {"type": "array", "items": items, "minItems": at_least, "maxItems": at_most})


def optional(given: Any) -> Any:
    """Return a field for what the given one holds, or `None`, which is the default."""

    def read(where: str, value: object) -> object:
        return None if value is None else given.metadata["read"](where, value)

    return custom(None, read, {"anyOf": [given.metadata["schema"], {"type": "null"}]})


def custom(default: Any, read: Read | None, schema: Mapping[str, Any], *, later: bool = False) -> Any:
    """Return a field with a reader of its own; a default that is callable makes a new value each time."""
    metadata = {"read": read, "schema": schema, "later": later}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


class Checked:
    """The base of a dataclass whose fields are made above: a value out of range cannot be constructed."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, f.name, f.metadata["read"](f.name, getattr(self, f.name)))


C = TypeVar("C", bound=Checked)


def read_fields(where: str, kind: type[C], values: object, *, base: C | None = None) -> C:
    """Return an object of `kind` from a mapping, with `base`'s values (or the defaults) for names that are not in it.

    Raises `InvalidConfig` for an unknown or missing name, a wrong type or a value out of range, with its place within
    `where`.
    """
    if not isinstance(values, Mapping):
        raise InvalidConfig(where, f"must be an object, not {named(values)}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given = ({name: getattr(base, name) for name in fields} if base else {}) | dict(values)
    try:
        _check_names(given, fields)
        for name, f in fields.items():
            if name not in given and f.default is MISSING:
                raise InvalidConfig(name, "is required")
        return kind(**given)
    except InvalidConfig as error:
        raise error.within(where) from None


def _check_names(given: Iterable[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            expected = f"expected one of {', '.join(known)}" if known else "no settings here"
            raise InvalidConfig(str(name)[:80], f"unknown setting {named(name)}; {expected}")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of a table of settings, which requests, answers, the schema and the documents are made of or checked by."""

    words: str
    """The setting's description in the schema, and the beginning of its row in the documents."""
    changeable: bool
    later: bool
    """Newer than the format of documents, so written only if not the default: digests of older sessions stay."""
    default: Any
    read: Read | None
    """`None` where the reader needs other settings too."""
    schema: Mapping[str, Any]


def setting(
    words: str, given: Any = None, *, changeable: bool = False, later: bool = False, name: str | None = None
) -> Any:
    """Return the given field as a row of a table of settings; without one the default is `None`."""
    value = given or custom(None, None, {})
    row = {**value.metadata, "words": words, "changeable": changeable, "later": later}
    return field(default=value.default, default_factory=value.default_factory, metadata={"setting": row, "name": name})


def settings_of(kind: type[object]) -> dict[str, Setting]:
    """Return the rows of a table by the names of the settings, in their order."""
    return {
        f.metadata["name"] or f.name: Setting(
            **f.metadata["setting"], default=f.default if f.default_factory is MISSING else f.default_factory()
        )
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if "setting" in f.metadata
    }


def read_settings(table: Mapping[str, Setting], given: Mapping[str, object]) -> dict[str, Any]:
    """Return the value of every setting that has a reader, or its default. Raises `InvalidConfig`."""
    readers = {name: row.read for name, row in table.items() if row.read}
    _check_names(given, readers)
    return {name: read(name, given[name]) if name in given else table[name].default for name, read in readers.items()}


def nested(kind: type[C]) -> Any:
    """Return a field for an object of the settings of `kind`, or `None`, which is the default."""

    def read(where: str, value: object) -> C | None:
        return None if value is None else read_fields(where, kind, value)

    return custom(None, read, {"anyOf": [field_schema(kind), {"type": "null"}]})


def plain(settings: Checked | Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by name, as JSON has them."""
    values = dict(settings) if isinstance(settings, Mapping) else dataclasses.asdict(settings)  # type: ignore[call-overload]
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    return plain(value) if isinstance(value, Checked) else list(value) if isinstance(value, tuple) else value


def written(settings: Checked) -> dict[str, Any]:
    """Return the settings by name, as documents have them: without later ones at their default."""
    rows = dataclasses.fields(settings)  # type: ignore[arg-type]
    absent = {row.name for row in rows if row.metadata["later"] and getattr(settings, row.name) == row.default}
    return {name: value for name, value in plain(settings).items() if name not in absent}


def field_schema(kind: type[object]) -> dict[str, Any]:
    """Return the JSON schema of what `read_fields` takes for `kind`."""
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


def named(value: object) -> str:
    """Return the value as JSON has it, short enough to show; a list or object is named by its type alone."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and value in BEYOND_FLOAT64:
        return f"{value} (or a number beyond 1.8e308)"
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, (int, float, str)):
        return repr(value)[:80]
    return {"list": "a list", "dict": "an object"}.get(type(value).__name__, type(value).__name__)


def _bounds(at_least: float, above: float, below: float, at_most: float) -> str:
    words = [("at least", at_least), ("above", above), ("below", below), ("at most", at_most)]
    return ", ".join(["finite", *(f"{word} {bound:g}" for word, bound in words if math.isfinite(bound))])


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if not isinstance(value, float) or math.isfinite(value)}
