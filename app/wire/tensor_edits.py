"""Edits of a session's tensors as JSON: `{"rename": {"old": "new"}, "remove": ["x"], "reset": ["y"]}`."""

from typing import Any

from app.errors import MalformedBody
from app.wire.codec import Limits
from optim_engine import Edits


def read_edits(document: Any, limits: Limits) -> Edits:
    """Return the edits of a document, each name of which may be a tensor's. Raises `MalformedBody`."""
    if not isinstance(document, dict):
        raise MalformedBody("the body must be a JSON object")
    if unknown := document.keys() - {"rename", "remove", "reset"}:
        raise MalformedBody(f"unknown member {min(unknown)!r:.80}; expected one of rename, remove, reset")
    rename = document.get("rename", {})
    if not isinstance(rename, dict):
        raise MalformedBody("`rename` must be an object: the new name of each old one")
    _check("rename", [*rename, *rename.values()], limits)
    return Edits(rename, _names(document, "remove", limits), _names(document, "reset", limits))


def _names(document: dict[str, Any], key: str, limits: Limits) -> list[str]:
    names = document.get(key, [])
    if not isinstance(names, list):
        raise MalformedBody(f"`{key}` must be a list of names")
    _check(key, names, limits)
    return names


def _check(key: str, names: list[Any], limits: Limits) -> None:
    for name in names:
        if not isinstance(name, str):
            raise MalformedBody(f"`{key}` must have names of tensors, which are text")
        limits.check_name(name)
