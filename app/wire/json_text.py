"""JSON text, read whole: a name that stands twice in one object is refused. It knows no tensor.

Readers of JSON differ in which of the two they take. orjson takes the last one and says nothing, so its result is held
against the text: each member has a colon, and there are no others but those within strings.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

from app.errors import MalformedBody

DEEPEST = 1024
"""The depth that orjson reads."""
CHUNK_BYTES = 1 << 18
BLANKS = b" \t\n\r"
PARTS = (b",", b'"', b"[", b"{")
"""The bytes that begin or end each value of a text."""
NO_JSON = re.compile(r"([-+]?)(?:(nan)|inf(?:inity)?)\b", re.IGNORECASE)
"""Words of other languages for what JSON has no number for: the sign, and NaN."""
LARGE_NUMBER = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    rb"|(?<![\w.+-])-?\d++(?:\.\d++)?+[eE]\+?\d{3,}+"
    rb"|(?<![\w.+-])-?\d{309,}+(?:\.\d++)?+",
    re.DOTALL,
)
"""A number that may be beyond float64; or a string, which is left alone. Each character is looked at once."""
ESCAPE = re.compile(rb"\\(?:(u003[aA])|.)", re.DOTALL)
"""In JSON a backslash stands within strings alone; the group is a colon that is written as an escape."""


def read_text(text: bytes | memoryview, what: str, deepest: int = DEEPEST, most_parts: float = math.inf) -> Any:
    """Return any JSON value that nests at most so deep; NaN and Infinity are not JSON. `what` is its name in the error.

    A text with more commas, quotes and brackets than `most_parts` is refused unread: it might take forty times its
    memory. Raises `MalformedBody`.
    """
    if len(text) > most_parts and (parts := sum(_count(text, byte) for byte in PARTS)) > most_parts:
        raise MalformedBody(
            f"{what} has {parts} commas, quotes and brackets, and may have {most_parts} beside numbers: send fewer"
        )
    try:
        value = loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"{what} {no_number(error) or f'is not JSON: {error}'}") from None
    if _nests_deeper(value, deepest):
        raise MalformedBody(f"{what} has more than {deepest} lists and objects in one another")
    written = _colons_in(text)
    if written not in (_colons_of(value, every_list=every) for every in (False, True)):
        raise MalformedBody(f"{what} has a name twice in one of its objects: send each once")
    return value


def loads(text: bytes | memoryview) -> Any:
    """Return the value as orjson reads it; a number beyond float64 as the string that stands for an infinity.

    orjson takes a text that begins with blanks for one that has many of them, and so for one that needs less memory
    than a dense one does. Raises its `JSONDecodeError`, but not for want of memory.
    """
    start = bytes(text[:3])
    if start[:1].isspace() or (len(start) == 3 and start[1:].isspace()):
        rest = bytes(text).lstrip(BLANKS)
        text = rest[:1] + rest[1:].lstrip(BLANKS)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if "infinity" not in str(error):
            raise
        return orjson.loads(LARGE_NUMBER.sub(_infinity, bytes(text)))


def _infinity(found: re.Match[bytes]) -> bytes:
    text = found[0]
    if text[:1] == b'"' or math.isfinite(float(text)):
        return text
    return b'"-Infinity"' if text[:1] == b"-" else b'"Infinity"'


def no_number(error: orjson.JSONDecodeError) -> str | None:
    """Return what is wrong where a word stands for a number that JSON lacks, in words that follow the text's name."""
    found = NO_JSON.match(error.doc, max(error.pos - 1, 0)) or NO_JSON.match(error.doc, error.pos)
    if found is None:
        return None
    infinity = "-Infinity" if found[1] == "-" else "Infinity"
    way_out = '"NaN"' if found[2] else f'"{infinity}"'
    return f"has {found[0]}, which is no JSON: a gradient may have null or {way_out}"


def _nests_deeper(value: Any, levels: int) -> bool:
    """Return whether a value nests deeper, along the first of each list.

    Lists that nest unevenly are refused as no tensor.
    """
    level = _nesting([value])
    while level and levels:
        below = []
        for outer in level:
            if isinstance(outer, dict):
                below += _nesting(outer.values())
            elif outer and isinstance(outer[0], (str, dict)):
                below += _nesting(outer)
            elif outer and isinstance(outer[0], list):
                below.append(outer[0])
        level, levels = below, levels - 1
    return bool(level)


def _nesting(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, (dict, list))]


def _colons_in(text: bytes | memoryview) -> int:
    """Return the number of colons in a text, also of those written as escapes."""
    if _count(text, b"\\"):
        return _count(text, b":") + sum(match[1] is not None for match in ESCAPE.finditer(text))
    return _count(text, b":")


def _count(text: bytes | memoryview, byte: bytes) -> int:
    data = np.frombuffer(text, np.uint8)
    return sum(
        int(np.count_nonzero(data[start : start + CHUNK_BYTES] == ord(byte)))
        for start in range(0, len(data), CHUNK_BYTES)
    )


def _colons_of(value: Any, *, every_list: bool) -> int:
    """Return the number of colons of a value's members and strings.

    Lists that begin with a number or a list are usually tensors, without either: they are searched only with
    `every_list`. No recursion, because the value may nest deep.
    """
    colons, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            colons += value.count(":")
        elif isinstance(value, dict):
            colons += len(value) + "".join(value).count(":")
            waiting += value.values()
        elif isinstance(value, list) and value and (every_list or isinstance(value[0], (str, dict))):
            waiting += value
    return colons
