"""The commands that list, fork, undo and delete the sessions of a running service."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.options import AsJson, SessionId, SessionIds, Url, client, given_twice, id_of, pairs, session_of
from app.commands.output import Column, ago, echo_json, echo_table, size

if TYPE_CHECKING:
    from optim_client import Client, SessionInfo

PAGE = 100
"""The most sessions of one answer."""
COLUMNS = (
    Column("id"),
    Column("optimizer"),
    Column("step", right=True),
    Column("state", right=True),
    Column("updated", right=True),
    Column("labels", flexible=True),
)

Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="A label; may be given more than once.")
]


def list_sessions(
    label: Labels = None,
    optimizer: Annotated[str | None, typer.Option(metavar="NAME", help="Those of one optimizer.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="The newest N alone.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the sessions, newest first."""
    labels, unreadable = _labels(label or []), list[str]()
    with client(url) as service:
        found = list(islice(_found(service, labels, optimizer, limit or PAGE, unreadable), limit))
    if as_json:
        left_out = {"tensors", "warnings"}  # a list has none
        sessions = [{name: value for name, value in asdict(each).items() if name not in left_out} for each in found]
        echo_json({"sessions": sessions, "unreadable": unreadable})
        return
    if found:
        echo_table(COLUMNS, map(_cells, found))
    elif not unreadable:
        typer.echo("no such session" if labels or optimizer else "no sessions yet", err=True)
    for session_id in unreadable:
        typer.echo(f"{session_id}  cannot be read: `optim sessions show` says why", err=True)


def _labels(given: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, value in pairs(given, "run=mnist-3", "--label"):
        if name in labels:
            raise given_twice(name, "--label")
        labels[name] = value
    return labels


def _found(
    service: "Client", labels: dict[str, str], optimizer: Any, most: int, unreadable: list[str]
) -> "Iterator[SessionInfo]":
    """Yield the sessions, newest first; put the ids of those that cannot be read into `unreadable`."""
    cursor = None
    while True:
        page = service.sessions.list(limit=min(most, PAGE), cursor=cursor, labels=labels, optimizer=optimizer)
        unreadable += page.unreadable
        yield from (session.info for session in page.sessions)
        cursor = page.next_cursor
        if cursor is None:
            return


def _cells(info: "SessionInfo") -> tuple[str, ...]:
    labels = " ".join(f"{name}={value}" for name, value in info.labels.items())
    return info.id, info.optimizer, f"{info.step:,}", size(info.state_bytes), ago(info.updated_at), labels


def fork(session_id: SessionId, label: Labels = None, url: Url = None, as_json: AsJson = False) -> None:
    """Make a session in the same state, and print its id.

    It has the labels that are given; without any, those of the session.
    """
    with client(url) as service:
        source = session_of(service, session_id)
        made = source.fork(labels=_labels(label)) if label else source.fork()
    if as_json:
        echo_json(asdict(made.info))
    else:
        typer.echo(made.id)


def undo(session_id: SessionId, url: Url = None, as_json: AsJson = False) -> None:
    """Undo the session's last step."""
    with client(url) as service:
        session = session_of(service, session_id)
        step = session.info.step
        if not step:
            raise ValueError(f"session {session.id} is at step 0: there is no step to undo")
        info = session.undo()
    if as_json:
        echo_json(asdict(info))
    else:
        typer.echo(f"undid step {step:,} of {info.id}: it is at step {info.step:,} again")


def delete(
    session_ids: SessionIds,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
) -> None:
    """Delete sessions, with their states and histories.

    On a terminal it asks first. If one of them is not there, none is deleted.
    """
    with client(url) as service:
        found = dict(_deletable(service, text) for text in session_ids)
        if not yes and sys.stdin.isatty():
            for words in found.values():
                typer.echo(words)
            typer.confirm(f"Delete {'it' if len(found) == 1 else f'these {len(found)}'} for good?", abort=True)
        for session_id in found:
            service.sessions.delete(session_id)


def _deletable(service: "Client", text: str) -> tuple[str, str]:
    """Return a session's id, and the words that ask for its deletion; also of one that cannot be read."""
    from optim_client import StateDamaged

    session_id = id_of(service, text)
    try:
        info = service.sessions.get(session_id).info
    except StateDamaged:
        return session_id, f"{session_id}  cannot be read"
    return session_id, f"{session_id}  {info.optimizer}, step {info.step:,}"
