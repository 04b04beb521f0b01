"""The rows of rounds in a session's history: those of steps, and with the fates of the contributions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.entry import Entry
from app.store.generation import ReplacedRow


@dataclass(frozen=True, slots=True)
class RoundRow:
    """The row of a round. `version` is that of the save that wrote it."""

    number: int
    row: bytes
    version: int
    digest: str
    entries: tuple[Entry, ...]

    def with_entries(self, entries: Iterable[Entry]) -> ReplacedRow:
        """Return the row as it is to be replaced, with those entries."""
        document = orjson.loads(self.row) | {"contributions": written(entries)}
        return ReplacedRow(self.number, self.version, orjson.dumps(document))


def written(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return entries as a row has them."""
    return [entry.document() for entry in entries]


def read(rows: Sequence[bytes], number: int) -> RoundRow | None:
    """Return the row of a round among rows of the history; `None` if it is not there, or of a plain step."""
    for row in reversed(rows):
        document = orjson.loads(row)
        if document["step"] == number and "contributions" in document and "undone" not in document:
            entries = tuple(Entry.read(entry) for entry in document["contributions"])
            return RoundRow(number, row, document["version"], document["digest"], entries)
    return None
