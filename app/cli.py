"""The command `optim`: its commands by name, and the end of each."""

from typing import Annotated

import typer

from app.commands import changes, history, keys, sessions, state_files, summary, tail, watch
from app.commands.backup import backup, restore
from app.commands.bench import bench
from app.commands.demo import demo
from app.commands.doctor import doctor
from app.commands.exits import exit_of
from app.commands.options import PLAIN, WHERE
from app.commands.output import plain
from app.commands.serve import ServeCommand, serve
from app.commands.workers import workers

app = typer.Typer(pretty_exceptions_enable=False, **PLAIN)


def _group(name: str, words: str, epilog: str | None = None) -> typer.Typer:
    """Return a new group of commands."""
    group = typer.Typer(help=words, epilog=epilog, **PLAIN)
    app.add_typer(group, name=name)
    return group


app.command(cls=ServeCommand)(serve)
app.command()(demo)
app.command(epilog=WHERE)(workers)
app.command()(backup)
app.command()(restore)
app.command(epilog=WHERE)(doctor)
app.command()(bench)

_sessions = _group("sessions", "Look at, change and move the sessions of a running service.", WHERE)
_sessions.command("list")(sessions.list_sessions)
_sessions.command()(summary.show)
_sessions.command()(tail.tail)
_sessions.command()(watch.watch)
_sessions.command()(history.history)
_sessions.command("set")(changes.change)
_sessions.command()(sessions.undo)
_sessions.command()(sessions.fork)
_sessions.command()(state_files.export)
_sessions.command("import")(state_files.import_state)
_sessions.command()(sessions.delete)

_keys = _group("keys", "Make, list and revoke API keys. A running service rereads their file by itself.")
_keys.command("create")(keys.create_key)
_keys.command("list")(keys.list_keys)
_keys.command("revoke")(keys.revoke_key)


def main() -> None:
    """Run the command. A refusal is one line on standard error, and its notes below say what to do."""
    try:
        app(prog_name="optim")
    except Exception as error:
        code = exit_of(error)
        if code is None:
            raise
        first, *more = str(error).splitlines() or [type(error).__name__]
        for line in (f"optim: {first}", *more, *getattr(error, "__notes__", ())):
            typer.echo(plain(line), err=True)
        raise SystemExit(code) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"optim {version('optim-service')}")
        raise typer.Exit


@app.callback()
def optim(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """An optimizer you call over HTTP: every step durable, and applied exactly once."""


if __name__ == "__main__":
    main()
