"""Earlier generations of a session: what a head keeps so that its last steps can be undone.

Generations share the pieces that no step between them has changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.store.keys import UsedKey
from app.store.piece import Piece

MOST_UNDO = 16
"""The most steps that a session can go back."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A session as it was before one step: the piece that has its document, and the pieces of its state.

    `version` is that of the save that took the step.
    """

    version: int
    document: Piece
    pieces: tuple[Piece, ...]

    @property
    def all_pieces(self) -> tuple[Piece, ...]:
        """Return the pieces of the state, then that of the document."""
        return (*self.pieces, self.document)


class ReplacedRow(NamedTuple):
    """A new body for a row of the history, if that is still kept: that of `step` which the save of `version` wrote."""

    step: int
    version: int
    body: bytes


class Undone(NamedTuple):
    """The traces of a step that a save undoes: its row of the history, and the new row of its key."""

    row: ReplacedRow
    key: UsedKey | None


def written_pieces(pieces: Sequence[Piece], later: Sequence[Piece] = ()) -> list[Any]:
    """Return pieces as JSON; `null` for one that is the piece of `later` at its place."""
    written: list[Any] = [[piece.name, piece.size, piece.checksum] for piece in pieces]
    for i, (piece, same) in enumerate(zip(pieces, later, strict=False)):
        if piece == same:
            written[i] = None
    return written


def read_pieces(written: Iterable[Any], later: Sequence[Piece] = ()) -> tuple[Piece, ...]:
    """Return the pieces that `written_pieces` wrote. Values that this version does not know are ignored."""
    return tuple(later[i] if piece is None else Piece(*piece[:3]) for i, piece in enumerate(written))


def written_generations(generations: Sequence[Generation], pieces: Sequence[Piece]) -> list[Any]:
    """Return generations as JSON, newest first; `pieces` are those of the head."""
    later = (pieces, *(generation.pieces for generation in generations))
    return [
        [generation.version, written_pieces([generation.document])[0], written_pieces(generation.pieces, after)]
        for generation, after in zip(generations, later, strict=False)
    ]


def read_generations(written: Iterable[Any], pieces: Sequence[Piece]) -> tuple[Generation, ...]:
    """Return the generations that `written_generations` wrote."""
    found: list[Generation] = []
    for version, document, own, *_ in written:
        pieces = read_pieces(own, pieces)
        found.append(Generation(version, Piece(*document[:3]), tuple(pieces)))
    return tuple(found)
