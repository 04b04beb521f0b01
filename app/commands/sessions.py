"""The commands that list, show and delete the sessions of a running service."""

from dataclasses import asdict

import typer

from app.commands.options import SessionId, Url, client


def list_sessions(url: Url = None) -> None:
    """List the sessions, one a line, newest first."""
    with client(url) as service:
        page = service.sessions.list()
        while True:
            for info in (session.info for session in page.sessions):
                typer.echo(f"{info.id}  {info.optimizer:8}  step {info.step:<8}  {info.updated_at:%Y-%m-%d %H:%M:%SZ}")
            for session_id in page.unreadable:
                typer.echo(f"{session_id}  cannot be read: `optim sessions show` says why", err=True)
            if page.next_cursor is None:
                return
            page = service.sessions.list(cursor=page.next_cursor)


def show(session_id: SessionId, url: Url = None) -> None:
    """Print the session as JSON."""
    import orjson

    with client(url) as service:
        info = service.sessions.get(session_id).info
        typer.echo(orjson.dumps(asdict(info), option=orjson.OPT_INDENT_2))


def delete(session_id: SessionId, url: Url = None) -> None:
    """Delete the session, its state and its history."""
    with client(url) as service:
        service.sessions.delete(session_id)
