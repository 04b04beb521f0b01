"""Long lists of numbers in a JSON text: cut out of it unread, then read a part at a time.

Read whole, a list takes up to forty times the memory of its text, and a thread that reads it lets no other run. So the
text is looked through for brackets outside of strings; each long list is replaced by one of a string that no text can
have, and what is left is small. A list that was cut out is read in parts of `WINDOW` bytes, straight into an array.
Knows no tensor.
"""

import math
import re
import secrets
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from orjson import JSONDecodeError

from app.wire.json_elements import NoElements, elements
from app.wire.json_elements import numbers as numbers_of
from app.wire.json_text import BLANKS, loads, no_number
from optim_engine.arrays import Array

WINDOW = 1 << 17
"""Bytes that are looked at, or read, at a time."""
SHORTEST = 128
"""Bytes of a list that is cut out."""
QUOTE, COMMA, OPEN, BACKSLASH, CLOSE, OPEN_OBJECT, CLOSE_OBJECT = b'",[\\]{}'
STRUCTURE = (QUOTE, OPEN, BACKSLASH, CLOSE, OPEN_OBJECT, CLOSE_OBJECT)
"""The bytes that a part of a long list of numbers has none of."""
LONGEST_EXPLAINED = 1 << 20
"""Bytes of a refused list that is read whole, to say where it is wrong."""
EMPTY = b"[]," + BLANKS
"""The content of lists without numbers."""
BEGINS_EMPTY = re.compile(rb"[\[ \t\n\r]*\]")
"""The beginning of lists whose first is empty."""
MOST_DIMENSIONS = 64
"""More than any tensor has."""


@dataclass(frozen=True, slots=True)
class NumberText:
    """A list that was cut out: its text."""

    text: memoryview


class Cut:
    """A JSON text without its long lists. One that is no JSON stays as it is, to be refused by who reads it."""

    def __init__(self, text: memoryview) -> None:
        self._text = text
        self._mark = secrets.token_hex(16)
        """The random prefix of strings that stand for lists."""
        scan = _Scan(text)
        self.depth = scan.depth
        """The depth of nested lists and objects."""
        self._lists = scan.lists

    @property
    def rest(self) -> bytes:
        """The text, with a list of one string in the place of each that was cut out: as little could be a name."""
        parts, position = list[bytes | memoryview](), 0
        for i, (start, end) in enumerate(self._lists):
            parts += [self._text[position:start], f'["{self._mark}{i}"]'.encode()]
            position = end
        return b"".join([*parts, self._text[position:]])

    def put_back(self, value: Any) -> Any:
        """Return what was read of `rest`, a `NumberText` in the place of each list: they stand in objects alone."""
        root = {"": value}
        waiting = [root]
        while waiting:
            members = waiting.pop()
            for name, member in members.items():
                if isinstance(member, dict):
                    waiting.append(member)
                elif isinstance(member, list) and member and _is_marked(member[0], self._mark):
                    start, end = self._lists[int(member[0].removeprefix(self._mark))]
                    members[name] = NumberText(self._text[start:end])
        return root[""]


def _is_marked(value: Any, mark: str) -> bool:
    return isinstance(value, str) and value.startswith(mark)


class _Scan:
    """One look through a text: where its long lists are that have no object in them."""

    def __init__(self, text: memoryview) -> None:
        self.depth = 0
        self.lists: list[tuple[int, int]] = []
        self._in_string = False
        self._escapes = False
        """True if the last character was a backslash that escapes the next one."""
        self._level = self._list_level = 0
        starts, ends, has_objects_in_lists = list[Array](), list[Array](), False
        for start in range(0, len(text), WINDOW):
            written = bytes(text[start : start + WINDOW])
            if not any(byte in written for byte in STRUCTURE):
                self._escapes = False
                continue
            part = np.frombuffer(written, np.uint8)
            places = self._brackets(part)
            found = part[places]
            steps = np.where((found == OPEN) | (found == OPEN_OBJECT), 1, -1)
            in_lists = self._list_level + np.cumsum(np.where((found == OPEN) | (found == CLOSE), steps, 0))
            self.depth = max(self.depth, self._level + int(np.max(np.cumsum(steps), initial=0)))
            has_objects_in_lists |= bool(np.any((found == OPEN_OBJECT) & (in_lists > 0)))
            starts.append(places[(found == OPEN) & (in_lists == 1)] + start)
            ends.append(places[(found == CLOSE) & (in_lists == 0)] + start + 1)
            self._level += int(np.sum(steps))
            self._list_level = int(in_lists[-1]) if len(in_lists) else self._list_level
        self._take(np.concatenate([[], *starts]), np.concatenate([[], *ends]), has_objects_in_lists)

    def _take(self, starts: Array, ends: Array, has_objects_in_lists: bool) -> None:
        if has_objects_in_lists or self._level or self._in_string or len(starts) != len(ends) or (ends < starts).any():
            return
        long = ends - starts >= SHORTEST
        self.lists = list(zip(starts[long].astype(int).tolist(), ends[long].astype(int).tolist(), strict=True))

    def _brackets(self, part: Array) -> Array:
        """Return the places of the brackets outside of strings: those with an even number of quotes before them."""
        quotes = part == QUOTE
        if self._escapes or (part == BACKSLASH).any():
            quotes &= ~self._escaped(part)
        strings = np.flatnonzero(quotes)
        brackets = (part == OPEN) | (part == CLOSE) | (part == OPEN_OBJECT) | (part == CLOSE_OBJECT)
        places = np.flatnonzero(brackets)
        within = (np.searchsorted(strings, places) + self._in_string) % 2 == 1
        self._in_string ^= len(strings) % 2 == 1
        outside: Array = places[~within]
        return outside

    def _escaped(self, part: Array) -> Array:
        """Find the characters after an odd number of backslashes."""
        places = np.arange(len(part))
        others = np.maximum.accumulate(np.where(part == BACKSLASH, -1 - self._escapes, places))
        run = places - others  # how long the run of backslashes is that ends here
        odd = run % 2 == 1
        before = np.concatenate([[self._escapes], odd[:-1]])
        self._escapes = bool(odd[-1])
        return before


def read_numbers(numbers: NumberText, dtype: np.dtype[Any], *, special: bool = False) -> Array:
    """Return the numbers in the shape of their lists; infinite where they are beyond the dtype.

    `special` allows what stands for a number. Raises `NoElements` for anything but numbers in lists of one length.
    """
    try:
        return _read_parts(numbers, dtype, special)
    except NoElements:
        raise
    except JSONDecodeError as error:
        raise _no_json(error) from None
    except ValueError:
        raise _explained(numbers, dtype, special) from None


def _explained(numbers: NumberText, dtype: np.dtype[Any], special: bool) -> NoElements:
    """Return what is wrong with lists that are not alike, and where, if they are short enough to be read whole."""
    try:
        if len(numbers.text) <= LONGEST_EXPLAINED:
            elements(loads(numbers.text), dtype, special=special)
    except NoElements as error:
        return error
    except JSONDecodeError as error:
        return _no_json(error)
    return NoElements("must be numbers in lists of one length")


def _no_json(error: JSONDecodeError) -> NoElements:
    return NoElements(no_number(error) or f"has a list that is not JSON: {error.msg}")


def _read_parts(numbers: NumberText, dtype: np.dtype[Any], special: bool) -> Array:
    shape = _shape_of(numbers.text)
    array, position = np.empty(math.prod(shape), dtype), 0
    for part in _parts(numbers.text):
        if _has_numbers_beside_lists(part):
            raise ValueError("a number beside a list")
        if not array.size and not part.strip(EMPTY):
            continue
        text = b"[%b]" % part.replace(b"[", b" ").replace(b"]", b" ")
        values = loads(text)
        if position + len(values) > array.size:
            raise ValueError("more numbers than the shape has")
        with np.errstate(over="ignore"):
            array[position : position + len(values)] = _numbers(text, values, shape, special, position)
        position += len(values)
    if position != array.size:
        raise ValueError("fewer numbers than the shape has")
    return array.reshape(shape)


def _numbers(text: bytes, values: list[Any], shape: tuple[int, ...], special: bool, start: int) -> Array:
    """Return the values of a text as float64. `pack` is the quickest way, and refuses all that is no number but `true`
    and `false`."""
    if b"t" not in text and b"f" not in text:
        with suppress(struct.error):
            return np.frombuffer(struct.pack(f"{len(values)}d", *values))
    return numbers_of(values, set(map(type, values)), shape, special=special, start=start)


def _parts(text: memoryview) -> Iterator[bytes]:
    """Yield the text, cut at commas."""
    waiting = list[bytes]()
    for start in range(0, len(text), WINDOW):
        part, comma, after = bytes(text[start : start + WINDOW]).rpartition(b",")
        if comma:
            yield b"".join([*waiting, part])
            waiting = []
        waiting.append(after)
    yield b"".join(waiting)


def _has_numbers_beside_lists(part: bytes) -> bool:
    """Return whether a list begins behind something else than a list or a comma, or ends before something else."""
    if b"[" not in part and b"]" not in part:
        return False
    text = np.frombuffer(part.translate(None, BLANKS), np.uint8)
    before, after = text[:-1], text[1:]
    begins = (after == OPEN) & (before != OPEN) & (before != COMMA)
    ends = (before == CLOSE) & (after != CLOSE) & (after != COMMA)
    return bool((begins | ends).any())


def _shape_of(text: memoryview) -> tuple[int, ...]:
    """Return the shape of the first lists, which all others must have: the same brackets and commas."""
    if _is_flat(text):
        size = sum(int(np.count_nonzero(part == COMMA)) for part in _windows(text)) + 1
        return (size if size > 1 or not BEGINS_EMPTY.match(text) else 0,)
    found = _structure_of(text)
    dimensions = len(found) - len(found.lstrip(b"["))
    if dimensions > MOST_DIMENSIONS:
        raise ValueError("the lists nest too deep")
    commas = found.index(b"]") - dimensions
    size = commas + 1 if commas or not BEGINS_EMPTY.match(text) else 0
    shape, row = [size], b"[" + b"," * commas + b"]"
    for level in range(2, dimensions + 1):
        end = found.find(b"]" * level) + level
        size = (end - (dimensions - level) - 1) // (len(row) + 1)
        if end < level or size < 1:
            raise ValueError("the lists are not of one depth")
        shape.insert(0, size)
        row = b"[" + ((row + b",") * size)[:-1] + b"]"
        if len(row) > len(found):
            break
    if row != found:
        raise ValueError("the lists are not of one length")
    return tuple(shape)


def _is_flat(text: memoryview) -> bool:
    """Return whether a list has no list in it, nor a bracket in a string."""
    for start in range(1, len(text) - 1, WINDOW):
        part = bytes(text[start : min(start + WINDOW, len(text) - 1)])
        if b"[" in part or b"]" in part:
            return False
    return True


def _structure_of(text: memoryview) -> bytes:
    """Return its brackets and commas."""
    found = (part[(part == OPEN) | (part == CLOSE) | (part == COMMA)].tobytes() for part in _windows(text))
    return b"".join(found)


def _windows(text: memoryview) -> Iterator[Array]:
    for start in range(0, len(text), WINDOW):
        yield np.frombuffer(text[start : start + WINDOW], np.uint8)
