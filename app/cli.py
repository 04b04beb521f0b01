"""The command `optim`: serve, demo, and sessions by the client."""

import inspect
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import uvicorn
from optim_client import Client, OptimError
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from app.demo.run import demo as run_demo
from app.logs import configure_logs
from app.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
sessions = typer.Typer(no_args_is_help=True, help="Sessions of a running service (OPTIM_BASE_URL, OPTIM_API_KEY).")
app.add_typer(sessions, name="sessions")

Url = Annotated[str | None, typer.Option(help="The service; default OPTIM_BASE_URL, else http://127.0.0.1:8000.")]


def main() -> None:
    """The entry point. A refusal is one line on standard error and exit status 1."""
    try:
        app()
    except OptimError as error:
        typer.echo(f"optim: {error}", err=True)
        raise SystemExit(1) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"optim {version('optim-service')}")
        raise typer.Exit


@app.callback()
def optim(
    show_version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """An optimizer you call over HTTP."""


def serve(**flags: Any) -> None:
    """Run the service. Every flag is also an OPTIM_* environment variable."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for name, value in given.items():
        os.environ[f"OPTIM_{name.upper()}"] = str(value)
    if settings.workers > 1 and settings.store == "memory:":
        raise typer.BadParameter("memory: lives in one process; take lmdb: or redis: for more workers")
    configure_logs(settings.log_level, settings.log_format)
    with tempfile.TemporaryDirectory(prefix="optim-metrics-") as shared:
        if settings.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
        _run(settings)


def _run(settings: Settings) -> None:
    uvicorn.run(
        "app.main:from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop" if os.name == "posix" else "asyncio",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        log_level=settings.log_level,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


def _with_settings_as_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A flag for each setting, with its words."""
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, typer.Option(help=_help_of(field))],
        )
        for name, field in Settings.model_fields.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _help_of(field: FieldInfo) -> str:
    default = "" if field.default_factory or field.default is None else f" [default: {field.default}]"
    return f"{field.description}{default}"


app.command("serve")(_with_settings_as_flags(serve))


@app.command()
def demo(url: Annotated[str | None, typer.Option(help="A running service, instead of one of its own.")] = None) -> None:
    """Watch a network learn through the service, which is killed half-way."""
    raise typer.Exit(run_demo(url))


@sessions.command("list")
def list_sessions(url: Url = None) -> None:
    """One line a session, newest first."""
    with Client(url) as client:
        for session in client.sessions:
            info = session.info
            typer.echo(f"{info.id}  {info.optimizer:8}  step {info.step:<8}  {info.updated_at}")


@sessions.command()
def show(session_id: str, url: Url = None) -> None:
    """The session as JSON."""
    with Client(url) as client:
        info = client.sessions.get(session_id).info
        typer.echo(orjson.dumps(asdict(info), option=orjson.OPT_INDENT_2))


@sessions.command()
def delete(session_id: str, url: Url = None) -> None:
    """Delete the session, its state and its history."""
    with Client(url) as client:
        client.sessions.delete(session_id)


@sessions.command()
def export(session_id: str, path: Path, url: Url = None) -> None:
    """Download the session's whole state into a file."""
    with Client(url) as client:
        client.sessions.get(session_id).save_state(path)


@sessions.command("import")
def import_state(session_id: str, path: Path, url: Url = None) -> None:
    """Upload a state file into the session."""
    with Client(url) as client:
        client.sessions.get(session_id).load_state(path)


if __name__ == "__main__":
    main()
