"""The workers of a session and its open round, as `optim workers` shows them. Needs the client alone."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from optim_client import RoundInfo, Session, WorkerInfo

HEAD = ("worker", "epoch", "lease", "last contribution", "lateness")


def shown(session: "Session", *, as_json: bool) -> str:
    """Return the table for people, or JSON that has all of it."""
    workers, opened = session.workers(), _open_round(session)
    if as_json:
        document = {"round": opened and asdict(opened), "workers": [asdict(worker) for worker in workers]}
        return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    lines = list(_told(opened, session.info.workers or {}))
    if workers:
        lines += _table([HEAD, *map(_cells, workers)])
    elif session.info.workers:
        lines.append("no worker has joined, or all have left")
    return "\n".join(lines)


def _open_round(session: "Session") -> "RoundInfo | None":
    """Return the open round; a session without rounds has none."""
    settings = session.info.workers
    if settings is None or settings.get("mode") == "async":
        return None
    return session.round(session.info.step + 1)


def _told(opened: "RoundInfo | None", settings: Any) -> Iterator[str]:
    """Yield a line about the open round, and one for each contribution in it."""
    if opened is None:
        yield f"mode {settings['mode']}: there are no rounds" if settings else "the session has no workers"
        return
    yield f"round {opened.round} is {opened.state}: {opened.have} of {settings['expected']} in{_closes(opened)}"
    for entry in opened.contributions:
        yield f"  {entry.worker}  weight {entry.weight:g}  {entry.reason or entry.fate or 'in'}"


def _closes(opened: "RoundInfo") -> str:
    if opened.closes_at is not None:
        return f", closes at {_instant(opened.closes_at)}"
    return f", {opened.need} more for the quorum" if opened.need else ""


def _cells(worker: "WorkerInfo") -> tuple[str, ...]:
    lease = f"{'ended' if worker.expired else 'until'} {_instant(worker.lease_expires_at)}"
    if worker.last_contribution_at is None:
        return worker.worker, str(worker.epoch), lease, "none", ""
    last = f"round {worker.last_round}, {_instant(worker.last_contribution_at)}"
    late = "" if worker.lateness_seconds is None else f"{worker.lateness_seconds:.1f} s"
    return worker.worker, str(worker.epoch), lease, last, late


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"
