"""The words for a value that Pydantic refuses: in a flag, an environment variable, a query or a file of keys."""

import re
from collections.abc import Callable, Mapping
from typing import Any

NEEDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "int_parsing": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "must be a whole number of fewer digits",
    "float_parsing": lambda _: "must be a number",
    "bool_parsing": lambda _: "must be true or false",
    "greater_than": lambda context: f"must be above {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be {context['ge']} or more",
    "less_than_equal": lambda context: f"must be {context['le']} or less",
    "literal_error": lambda context: f"must be {context['expected'].replace(chr(39), '')}",
    "path_not_file": lambda _: "must be a file that is there",
}
"""The words for each kind of error whose value may be shown. A key, or a URL with a password, may not."""
NUMBER = re.compile(r"-?[0-9.]+", re.ASCII)


def need(error: Mapping[str, Any], description: str | None = None) -> str:
    """Return what the value must be, by one of the `errors()`; the field's description stands for its pattern."""
    if error["type"] == "string_pattern_mismatch" and description:
        return f"must be {description[0].lower()}{description[1:].removesuffix('.')}"
    if error["type"] in NEEDS:
        return NEEDS[error["type"]](error.get("ctx", {}))
    return str(error["msg"]).removeprefix("Value error, ")


def sentence(error: Mapping[str, Any]) -> str:
    """Return what the value must be, and what it is if that is no secret."""
    if error["type"] not in NEEDS:
        return need(error)
    value = str(error["input"])
    return f"{need(error)}, not {f'{value:.80}' if NUMBER.fullmatch(value) else f'{value!r:.80}'}"
