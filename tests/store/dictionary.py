"""The dictionary that stands for a store: its content after any calls, without a database."""

import builtins
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.store.base import Head, Save
from app.store.generation import ReplacedRow
from app.store.history import STEP, Numbered
from app.store.ledger import Ledger, LedgerSave
from tests.store.changes import used
from tests.store.thinned import Row, Thinned


@dataclass
class Session:
    """The expected content of one session."""

    head: Head
    state: bytes
    history: Thinned
    keys: list[str] = field(default_factory=list)
    earlier: list[bytes] = field(default_factory=list)
    """The states of the head's earlier generations."""
    undone: set[str] = field(default_factory=set)
    """The keys of undone steps."""
    ledger: Ledger | None = None
    waiting: list[bytes] = field(default_factory=list)
    """The bytes of the ledger's pieces."""
    marks: list[Numbered] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return self.history.rows

    def row_of(self, key: str) -> bytes | None:
        """Return the row of a key, if it is known."""
        return None if key not in self.keys else used(key, "undone" if key in self.undone else "").row

    def take(self, change: LedgerSave) -> None:
        """Do a save of the ledger that a store may not refuse."""
        old = dict(zip(self.ledger.pieces if self.ledger else (), self.waiting, strict=True))
        data = old | {piece: bytes(view) for piece, view in change.parts}
        self.ledger, self.waiting = change.ledger, [data[piece] for piece in change.ledger.pieces]
        self.replace(change.replaced)

    def replace(self, replaced: Iterable[ReplacedRow]) -> None:
        """Replace rows of the history that are there."""
        for new in replaced:
            self.history.rows = [tuple(new) if row[:2] == new[:2] else row for row in self.history.rows]


class Dictionary(dict[str, Session]):
    """Sessions by id. It keeps as many rows of the history and used keys as it is told."""

    def __init__(self, rows: int, keys: tuple[str, ...], kept_keys: int) -> None:
        super().__init__()
        self._rows = rows
        self._keys = keys
        self._kept_keys = kept_keys

    def save(self, change: Save, state: bytes) -> None:
        """Do a save that a store may not refuse."""
        name = change.head.session_id
        old = self[name] if change.previous else Session(change.head, b"", Thinned(self._rows))
        if change.forget_after is not None:
            old.history.forget_after(change.forget_after)
        old.replace([change.undone.row] if change.undone else [])
        if change.row:
            old.history.add((change.row.step, change.head.version, change.row.body))
        keys = old.keys + [key for key in self._keys if used(key) in change.used]
        undone = old.undone | {key for key in self._keys if change.undone and change.undone.key == used(key, "undone")}
        undone -= {key for key in self._keys if used(key) in change.used}
        earlier = old.earlier[1:] if change.undone else [old.state, *old.earlier][: len(change.head.earlier)]
        kept_keys = keys[-self._kept_keys :]
        marks = old.marks + ([Numbered(change.head.version, *change.mark)] if change.mark else [])
        beside = old.ledger, old.waiting, marks
        self[name] = new = Session(change.head, state, old.history, kept_keys, earlier, undone, *beside)
        if change.ledger:
            new.take(change.ledger)
        if change.head.expires_at is not None and change.head.expires_at < time.time():
            del self[name]

    def list(self, tenant: str, limit: int, before: str | None) -> list[Head]:
        found = [self[name].head for name in sorted(self, reverse=True) if before is None or name < before]
        return [head for head in found if head.tenant == tenant][:limit]

    def history(self, name: str, after: int, limit: int) -> builtins.list[bytes]:
        rows = [row for row in self.rows(name) if row[0] > after]
        page = rows[:limit]
        page += [row for row in rows[limit:] if page and row[0] == page[-1][0]]
        return [body for _, _, body in page]

    def latest(self, name: str, count: int) -> builtins.list[bytes]:
        return [body for _, _, body in self.rows(name)[-count:]]

    def newer(self, name: str, version: int, limit: int) -> builtins.list[Numbered]:
        marks = self[name].marks if name in self else []
        both = [*marks, *(Numbered(number, STEP, body) for _, number, body in self.rows(name))]
        return sorted(each for each in both if each.number > version)[:limit]

    def rows(self, name: str) -> builtins.list[tuple[int, int, bytes]]:
        return self[name].history.rows if name in self else []
