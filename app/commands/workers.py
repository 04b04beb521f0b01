"""The command `workers`: the open round of a session and its workers."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from app.commands.options import AsJson, SessionId, Url, client, session_of
from app.commands.output import NONE, Column, echo_json, echo_table, instant, plain

if TYPE_CHECKING:
    from optim_client import RoundInfo, Session, WorkerInfo

COLUMNS = (
    Column("worker", flexible=True),
    Column("epoch", right=True),
    Column("lease"),
    Column("last contribution"),
    Column("lateness", right=True),
)


def workers(session_id: SessionId, url: Url = None, as_json: AsJson = False) -> None:
    """Show the workers of a session, and its open round."""
    with client(url) as service:
        session = session_of(service, session_id)
        found, opened = session.workers(), _open_round(session)
    if as_json:
        echo_json({"round": opened and asdict(opened), "workers": [asdict(worker) for worker in found]})
        return
    for line in _told(opened, session.info.workers or {}):
        typer.echo(line)
    if found:
        echo_table(COLUMNS, map(_cells, found))
    elif session.info.workers:
        typer.echo("no worker has joined, or all have left")


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
        yield f"  {plain(entry.worker)}  weight {entry.weight:g}  {entry.reason or entry.fate or 'in'}"


def _closes(opened: "RoundInfo") -> str:
    if opened.closes_at is not None:
        return f", closes at {instant(opened.closes_at)}"
    return f", {opened.need} more for the quorum" if opened.need else ""


def _cells(worker: "WorkerInfo") -> tuple[str, ...]:
    lease = f"{'ended' if worker.expired else 'until'} {instant(worker.lease_expires_at)}"
    if worker.last_contribution_at is None:
        return worker.worker, str(worker.epoch), lease, "none", NONE
    last = f"round {worker.last_round}, {instant(worker.last_contribution_at)}"
    late = NONE if worker.lateness_seconds is None else f"{worker.lateness_seconds:.1f} s"
    return worker.worker, str(worker.epoch), lease, last, late
