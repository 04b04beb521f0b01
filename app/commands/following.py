"""The past of a session and its events from then on, without a gap and without a repetition; and an event as a line."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from app.commands.output import number, plain, shown

if TYPE_CHECKING:
    from optim_client import Event, Events, History, HistoryRow, Mark

HEAD = f"{'step':>10}  {'loss':>10}  {'lr':>10}  {'grad norm':>10}  {'update':>10}  {'ms':>8}  time"


def later(past: "History", events: "Events") -> "Iterator[Event]":
    """Yield the events after a past that was read once the stream of events had begun."""
    last = (past[-1].time, past[-1].step) if past else None
    for event in events:
        if last is None or (_time(event), event.step) > last:
            yield event


def _time(event: "Event") -> datetime:
    found = event.row or event.mark
    assert found is not None
    return found.time


def short_ids(ids: Collection[str]) -> dict[str, str]:
    """Return the first digits of each id: eight, or as many as tell them apart."""
    digits = 8
    while len({each[:digits] for each in ids}) < len(ids):
        digits += 1
    return {each: each[:digits] for each in ids}


def line_of(row: "HistoryRow") -> str:
    """Return a row as a line below `HEAD`."""
    numbers = (row.loss, row.lr, row.grad_norm, row.update_norm)
    cells = "  ".join(f"{number(value):>10}" for value in numbers)
    notes = "  skipped" * row.skipped + "  undone" * row.undone
    return f"{row.step:>10,}  {cells}  {row.duration_ms:>8.2f}  {row.time.astimezone():%H:%M:%S}{notes}"


def words_of(event: "Event") -> str:
    """Return an event as a line."""
    if event.row is not None:
        return line_of(event.row)
    assert event.mark is not None
    return f"{event.step:>10,}  {_said(event.mark)}  {event.mark.time.astimezone():%H:%M:%S}"


def _said(mark: "Mark") -> str:
    if mark.undone is not None:
        return f"after an undo of step {mark.undone:,}"
    changes = [f"{name} {_value(old)} → {_value(new)}" for name, (old, new) in mark.changed.items()]
    return plain("changed " + ", ".join(changes))


def _value(value: Any) -> str:
    return number(value) if isinstance(value, float) else shown(value)
