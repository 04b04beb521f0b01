"""The command `tail`: the last steps of a session as lines, and with `-f` each new event."""

from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.following import HEAD, later, line_of, words_of
from app.commands.options import AsJson, SessionId, Url, client, session_of
from app.commands.output import echo_json, styled

if TYPE_CHECKING:
    from optim_client import Event, HistoryRow


def tail(
    session_id: SessionId,
    count: Annotated[int, typer.Option("-n", min=0, max=10_000, metavar="N", help="The last N steps.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with each new event.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Print the last steps of a session, one a line.

    With -f it goes on with each step, undo and change of settings, until the session is gone, or Ctrl-C. With --json
    each line is an object.
    """
    from optim_client import History

    with client(url) as service:
        session = session_of(service, session_id)
        with session.events() if follow else nullcontext() as events:
            past = session.history(last=count) if count else History()
            if not as_json:
                typer.echo(styled(HEAD, bold=True))
            for row in past:
                _echo_row(row, as_json)
            for event in later(past, events) if events else ():
                _echo_event(event, as_json)


def _echo_row(row: "HistoryRow", as_json: bool) -> None:
    if as_json:
        echo_json({"event": "step", **asdict(row)}, one_line=True)
    else:
        typer.echo(line_of(row))


def _echo_event(event: "Event", as_json: bool) -> None:
    if event.row is not None:
        _echo_row(event.row, as_json)
    elif as_json and event.mark is not None:
        echo_json({"event": event.kind, "step": event.step, **asdict(event.mark)}, one_line=True)
    else:
        typer.echo(words_of(event))
