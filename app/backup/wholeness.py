"""The wholeness of one session: whether its members are those that its head and its ledger name, byte by byte."""

from typing import TypeVar

from app.errors import ServiceError
from app.store import envelope, ledger_envelope
from app.store.piece import Piece
from app.store.snapshot import PIECE, About, Member, frames_of

Read = TypeVar("Read")


class Wholeness:
    """The state of the look at one session, member by member."""

    def __init__(self) -> None:
        self.about: About | None = None
        self._pieces: dict[str, Piece] = {}
        """The pieces that are still to come."""
        self._damage: list[str] = []

    def take(self, member: Member) -> None:
        """Look at the next member."""
        try:
            match member.kind:
                case "about":
                    self.about = About.decode(member.data)
                case "head":
                    self._expect(envelope.decode(self.session_id, bytes(member.data)).kept)
                case "ledger":
                    self._expect(ledger_envelope.decode(self.session_id, bytes(member.data)).pieces)
                case "piece":
                    self._take_piece(member)
                case "history" | "marks" | "keys":
                    for _ in frames_of(member):
                        pass
        except ServiceError as error:
            self._damage.append(str(error))

    @property
    def session_id(self) -> str:
        return self.about.session_id if self.about else ""

    def _expect(self, pieces: tuple[Piece, ...]) -> None:
        self._pieces |= {piece.name: piece for piece in pieces}

    def _take_piece(self, member: Member) -> None:
        piece = self._pieces.pop(member.name.removeprefix(PIECE), None)
        if piece is not None:
            piece.verify(self.session_id, member.data)

    @property
    def damage(self) -> str | None:
        """Return the first thing that is wrong, once all members were taken; `None` for a whole session."""
        if self._damage:
            return self._damage[0]
        for piece in self._pieces.values():
            return f"session {self.session_id}: piece {piece.name} is lost"
        return None
