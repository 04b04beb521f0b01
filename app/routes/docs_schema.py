"""JSON schemas for people: a type in a few words, and a table of an object's members."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element

from app.routes.html import Node, node, prose, table

Document: TypeAlias = Mapping[str, Any]

BOUNDS = {"minimum": "≥ ", "exclusiveMinimum": "> ", "exclusiveMaximum": "< ", "maximum": "≤ "}


def shape(schema: Document) -> list[Node]:
    """Return a schema's words, and a table of its members."""
    words: list[Node] = [node("p", *prose(schema["description"]))] if "description" in schema else []
    if "properties" not in schema:
        return [*words, node("p", *type_of(schema), Class="type")]
    needed = schema.get("required", ())
    return [*words, table(row(name, value, name in needed) for name, value in schema["properties"].items())]


def row(name: str, schema: Document, needed: bool = False, place: str = "") -> Element:
    """Return a row of a table: name, type, words, and the kinds of an object that has several."""
    what: list[Node] = [node("div", *type_of(schema), Class="type")]
    if "description" in schema:
        what.append(node("div", *prose(schema["description"])))
    for kind in schema.get("oneOf") or schema.get("anyOf", ()):
        if "properties" in kind:
            title = node("code", kind.get("title", "object"))
            what.append(node("details", node("summary", title), *shape(kind)))
    beside: list[Node] = [" ", node("i", place or "needed")] if place or needed else []
    return node("tr", node("th", node("code", name), *beside, scope="row"), node("td", *what))


def type_of(schema: Document) -> list[Node]:
    """Return the type in a few words."""
    words = _kind(schema)
    if bounds := [f"{sign}{schema[key]}" for key, sign in BOUNDS.items() if key in schema]:
        words.append(" " + ", ".join(bounds))
    if "default" in schema:
        words += [", default ", _value(schema["default"])]
    return words


def _kind(schema: Document) -> list[Node]:
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            words: list[Node] = [node("a", name, href=f"#{name}")]
        case {"const": value}:
            words = [_value(value)]
        case {"enum": values}:
            words = _either([_value(value)] for value in values)
        case {"anyOf": kinds} | {"oneOf": kinds}:
            words = _either(type_of(kind) for kind in kinds)
        case {"properties": properties} if "title" not in schema:
            words = [node("code", "{" + ", ".join(properties) + "}")]
        case {"format": "binary"}:
            words = ["bytes"]
        case {"items": inner} | {"additionalProperties": dict(inner)} if inner:
            words = [_types(schema)[0], " of ", *type_of(inner), *_types(schema)[1:]]
        case _:
            words = [*_types(schema)]
    return words


def _types(schema: Document) -> list[str]:
    """Return the types, ` or ` between them."""
    types = schema.get("type", "anything")
    first, *others = [types] if isinstance(types, str) else types
    return [first, *(f" or {other}" for other in others)]


def _either(kinds: Iterable[list[Node]]) -> list[Node]:
    words: list[Node] = []
    for kind in kinds:
        if kind != ["object"] or "object" not in words:
            words += [" or ", *kind] if words else kind
    return words


def _value(value: object) -> Element:
    return node("code", json.dumps(value, ensure_ascii=False))
