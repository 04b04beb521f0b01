"""The rows of rounds in a session's history: those of steps, and with the fates of the contributions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import orjson

from app.store.generation import ReplacedRow
from app.workers.entry import Entry
from optim_engine import Metrics

METRICS = tuple(field.name for field in fields(Metrics))


@dataclass(frozen=True, slots=True)
class RoundRow:
    """The row of a round, or of an asynchronous contribution. `version` is that of the save that wrote it."""

    number: int
    row: bytes
    version: int
    digest: str
    entries: tuple[Entry, ...]

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the metrics of the step."""
        document = orjson.loads(self.row)
        return {name: document[name] for name in METRICS}

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
        is_left = document.get("skipped") or "undone" in document
        if document["step"] == number and "contributions" in document and not is_left:
            entries = tuple(Entry.read(entry) for entry in document["contributions"])
            return RoundRow(number, row, document["version"], document["digest"], entries)
    return None


def newest(rows: Sequence[bytes], written: bytes) -> bytes:
    """Return the row of a step as it is among rows of the history; `written` is how its save wrote it.

    A contribution that came late has changed it since.
    """
    version = orjson.loads(written).get("version")
    return next((row for row in rows if version is not None and orjson.loads(row).get("version") == version), written)


def step_of(rows: Sequence[bytes], worker: str, seq: int) -> int | None:
    """Return the step that the worker's asynchronous contribution of that number became."""
    name = b'"worker":%b' % orjson.dumps(worker)
    for row in reversed(rows):
        if name in row and "undone" not in (document := orjson.loads(row)):
            for entry in map(Entry.read, document.get("contributions", ())):
                if (entry.worker, entry.seq, entry.fate) == (worker, seq, "applied"):
                    step: int = document["step"]
                    return step
    return None
