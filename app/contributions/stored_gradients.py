"""The gradients of a contribution as a store keeps them: the body of a step in safetensors, cut into pieces.

A body is stored as it came, so nothing is copied, and a part of a tensor can be read from the pieces that have it.
Knows no session and no store.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from app.contributions.windows import Contents
from app.store.piece import Piece
from app.wire.codec import Limits, checked_grad_scale, number_of
from app.wire.contributions import LENGTH_BYTES, start_of
from app.wire.safetensors_header import Header, Place, read_header
from app.wire.safetensors_tensors import STEP_SECTIONS
from optim_engine.arrays import Array

STORED = Limits(max_tensors=1 << 31, max_name_length=1 << 31)
"""The limits of what is stored: none, because it was within them when it came."""


def header_pieces(pieces: Sequence[Piece], first: memoryview) -> Sequence[Piece]:
    """Return the pieces that have the header; `first` is the content of the first one."""
    return _touched(pieces, _ends(pieces), 0, start_of(first))


class Sent(NamedTuple):
    """A tensor of a body: its gradient, and what stands beside it: its rows or single elements, and its scales."""

    grads: Place
    rows: Place | None = None
    at: Place | None = None
    scale: Place | None = None

    @property
    def is_plain(self) -> bool:
        """Return whether the gradient is of the whole tensor, as it is."""
        return self.rows is None and self.at is None and self.scale is None


@dataclass(frozen=True, eq=False)
class Stored:
    """A body of which the header is known."""

    pieces: Sequence[Piece]
    start: int
    """The byte with which the tensors begin. Places count from there."""
    header: Header
    grad_scale: float

    @classmethod
    def read(cls, pieces: Sequence[Piece], contents: Contents) -> "Stored":
        """Return the body of those pieces; `contents` has those of the header."""
        start, ends = start_of(contents[pieces[0].name]), _ends(pieces)
        text = bytes(_bytes(pieces, ends, contents, LENGTH_BYTES, start))
        header = read_header(text, ends[-1] - start, STEP_SECTIONS, STORED)
        return cls(pieces, start, header, checked_grad_scale(number_of(header.metadata or {}, "grad_scale", float)))

    @cached_property
    def ends(self) -> list[int]:
        """The end of each piece in the body."""
        return _ends(self.pieces)

    def sent(self) -> dict[str, Sent]:
        """Return the tensors by name, in the order of their bytes."""
        found: dict[str, dict[str, Place]] = {section: {} for section in STEP_SECTIONS}
        for place in _places(self.header):
            found[place.section][place.tensor] = place
        beside = [found[section] for section in ("rows", "at", "scale")]
        return {name: Sent(place, *[places.get(name) for places in beside]) for name, place in found["grads"].items()}

    def touched(self, start: int, end: int) -> Sequence[Piece]:
        """Return the pieces with the bytes of the tensors from `start` to `end`."""
        return _touched(self.pieces, self.ends, self.start + start, self.start + end)

    def vector(self, contents: Contents, dtype: np.dtype[Any], start: int, end: int) -> Array:
        """Return the values in the bytes from `start` to `end`: a view, where one piece has all of them, aligned."""
        data = _bytes(self.pieces, self.ends, contents, self.start + start, self.start + end)
        found = np.frombuffer(data, dtype)
        return found if found.flags.aligned else found.copy()


def _ends(pieces: Sequence[Piece]) -> list[int]:
    return [*accumulate(piece.size for piece in pieces)]


def _touched(pieces: Sequence[Piece], ends: Sequence[int], start: int, end: int) -> Sequence[Piece]:
    """Return the pieces with the bytes from `start` to `end`."""
    return pieces[bisect_right(ends, start) : bisect_right(ends, end - 1) + 1] if start < end else ()


def _bytes(pieces: Sequence[Piece], ends: Sequence[int], contents: Contents, start: int, end: int) -> memoryview:
    """Return the bytes from `start` to `end` of the body."""
    touched, first = _touched(pieces, ends, start, end), bisect_right(ends, start)
    before = ends[first - 1] if first else 0
    if len(touched) == 1:
        return contents[touched[0].name][start - before : end - before]
    return memoryview(b"".join(contents[piece.name] for piece in touched))[start - before : end - before]


def _places(header: Header) -> Iterator[Place]:
    for run in header.runs:
        for section, tensor, part, shape in run.tensors:
            size = run.dtype.itemsize
            first, last = run.start + part.start * size, run.start + part.stop * size
            yield Place(section, tensor, run.dtype, shape, first, last)
