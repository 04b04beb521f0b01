"""The words of JSON schemas that all nouns share."""

from typing import Any

Document = dict[str, Any]

TEXT: Document = {"type": "string"}
WHOLE: Document = {"type": "integer"}
FLAG: Document = {"type": "boolean"}
NOT_FINITE: Document = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
SPECIAL_NUMBER: Document = {"anyOf": [{"type": "number"}, {"type": "null"}, NOT_FINITE]}
NUMBER: Document = {"anyOf": [{"type": "number"}, NOT_FINITE]}


def ref(name: str) -> Document:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: Document) -> Document:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def object_of(properties: Document, required: list[str] | None = None) -> Document:
    """Return the schema of an object with these members alone, all of them required unless some are named."""
    needed = list(properties) if required is None else required
    schema: Document = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": needed} if needed else {})
