"""An event of a session: a step, or a mark of what happened between two steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from optim_client.documents import Document, HistoryRow


@dataclass(frozen=True, slots=True)
class Mark:
    """A change of a session between two steps.

    An undo names the step that was `undone`. `changed` has each setting that changed, by its path, with its old and its
    new value: `{"hyperparameters.lr": (0.001, 0.0005)}`. A loaded state changes `step`, uploaded parameters change
    `params`, and edited tensors change `tensors`.
    """

    time: datetime
    undone: int | None = None
    changed: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Document) -> Self:
        """Return the document as an object. Raises `KeyError`, `TypeError` and `ValueError`."""
        changed = {name: (old, new) for name, (old, new) in document.get("changed", {}).items()}
        return cls(datetime.fromisoformat(document["time"]), document.get("undone"), changed)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a session. `step` is the session's step after it.

    A `kind` of `"step"` has a `row`; `"undo"` and `"settings"` have a `mark`. `number` orders the events of a session:
    `session.events(after=number)` continues after this one.
    """

    number: int
    kind: str
    step: int
    row: HistoryRow | None = None
    mark: Mark | None = None

    @classmethod
    def read(cls, number: int, kind: str, document: Document) -> Self:
        """Return the event of a document. Raises `KeyError`, `TypeError` and `ValueError`."""
        if kind == "step":
            return cls(number, kind, document["step"], row=HistoryRow.read(document))
        return cls(number, kind, document["step"], mark=Mark.read(document))
