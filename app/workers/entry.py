"""The record of a contribution: who sent it, with which weight, and what became of it. Knows no HTTP, no store."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from app import plain

Fate = Literal["applied", "dropped"]
Reason = Literal["late", "stale", "fenced", "non_finite"]
"""The reasons for which a contribution is dropped."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A contribution as the ledger, and later the history, has it.

    `digest` is that of the contribution without its epoch. `fate` is `None` while the round is open. `norm` is `None`
    if the contribution was refused before its norm was computed. `seq` and `staleness` are of the asynchronous mode.
    """

    worker: str
    epoch: int
    digest: str
    weight: float = 1.0
    norm: float | None = None
    fate: Fate | None = None
    reason: Reason | None = None
    seq: int | None = None
    staleness: int | None = None
    clip_scale: float | None = None

    def document(self) -> dict[str, Any]:
        """Return the entry as JSON has it: without the members that it has no value for, except `fate`."""
        members = {name: getattr(self, name) for name in _NAMES} | {"norm": plain.number(self.norm)}
        return {name: value for name, value in members.items() if value is not None or name == "fate"}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return the entry of a document. Unknown members are ignored, as a later version may add some."""
        members = {name: value for name, value in document.items() if name in _NAMES}
        return cls(**members | {name: float(members[name]) for name in ("weight", "norm") if name in members})


_NAMES = tuple(field.name for field in fields(Entry))
