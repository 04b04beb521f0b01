"""The command `workers`."""

import typer

from app.commands.options import AsJson, SessionId, Url, client


def workers(session_id: SessionId, url: Url = None, as_json: AsJson = False) -> None:
    """Show the workers of a session, and its open round."""
    from app import workers_table

    with client(url) as service:
        typer.echo(workers_table.shown(service.sessions.get(session_id), as_json=as_json))
