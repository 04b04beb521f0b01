"""The command `optim`: serve, demo, API keys, copies of the store, and the sessions of a running service.

Each command imports what it needs when it runs, so that `--help` is quick.
"""

import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from app.roles import Role

if TYPE_CHECKING:
    from optim_client import Client

    from app.keys_file import Key
    from app.store.lmdb_copy import Copied

NO_HELP = {"default_map": {"help": False}}
"""The value of a `--help` that is not given. Typer has none, so it imports Pydantic to convert it."""

PLAIN: dict[str, Any] = {"rich_markup_mode": None, "no_args_is_help": True, "context_settings": NO_HELP}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, **PLAIN)


def _group(name: str, words: str, epilog: str | None = None) -> typer.Typer:
    """Return a new group of commands."""
    group = typer.Typer(help=words, epilog=epilog, **PLAIN)
    app.add_typer(group, name=name)
    return group


WHERE = "Where no --url is given: OPTIM_BASE_URL, else http://127.0.0.1:8000. The API key is OPTIM_API_KEY."
sessions = _group("sessions", "Look at, move and delete the sessions of a running service.", WHERE)
keys = _group("keys", "Make, list and revoke API keys. A running service rereads their file by itself.")
store = _group("store", "Back up and restore the embedded store, without a service.")

Url = Annotated[str | None, typer.Option(metavar="URL", help="Where the service is.")]
SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session.")]
KeysPath = Annotated[
    Path, typer.Option("--file", metavar="FILE", envvar="OPTIM_API_KEYS_FILE", help="The file of API keys.")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The store, lmdb:PATH. Where it is not given: OPTIM_STORE.")
]
MOST_DAYS = 36_500
StateFile = Annotated[Path, typer.Argument(metavar="FILE", help="The state.")]


def _known_format(name: str | None) -> str | None:
    from app.state_formats import NAMES

    if name not in (None, *NAMES):
        raise typer.BadParameter(f"unknown format {name!r:.80}; expected one of {', '.join(NAMES)}")
    return name


FormatOption = typer.Option(
    "--format", callback=_known_format, metavar="FORMAT", help="safetensors, torch, or optax-npz."
)


def _client(url: str | None) -> "Client":
    """Return a client that tries three times, because a person waits."""
    from optim_client import Client

    return Client(url, max_retries=2)


def main() -> None:
    """Run the command. A refusal is one line on standard error and exit status 1."""
    try:
        app()
    except Exception as error:
        if not _is_refusal(error):
            raise
        typer.echo(f"optim: {error}", err=True)
        raise SystemExit(1) from None


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, ValueError | OSError):
        return True
    from optim_client import OptimError

    from app.errors import ServiceError

    return isinstance(error, OptimError | ServiceError)


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


class _Serve(TyperCommand):
    """The command `serve`. It gets its flags, one for each setting, when it runs."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the command with its flags."""
        from app.flags import serve_command

        return serve_command(self.help).make_context(info_name, args, parent=parent, **extra)


@app.command(cls=_Serve)
def serve() -> None:
    """Run the service.

    Every flag is also an environment variable: --max-body-bytes is OPTIM_MAX_BODY_BYTES. A flag wins. Other users of
    this machine can read a flag: put a password of the store into OPTIM_STORE.
    """


@app.command()
def demo(url: Url = None) -> None:
    """Watch a network learn.

    Its optimizer is a service that the demo starts, kills in a step and starts again; with --url one that runs already.
    """
    from app.demo.run import demo as run_demo

    raise typer.Exit(run_demo(url))


@app.command(epilog=WHERE)
def workers(
    session_id: SessionId,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show the workers of a session, and its open round."""
    from app import workers_table

    with _client(url) as client:
        typer.echo(workers_table.shown(client.sessions.get(session_id), as_json=as_json))


@sessions.command("list")
def list_sessions(url: Url = None) -> None:
    """List the sessions, one a line, newest first."""
    with _client(url) as client:
        page = client.sessions.list()
        while True:
            for info in (session.info for session in page.sessions):
                typer.echo(f"{info.id}  {info.optimizer:8}  step {info.step:<8}  {info.updated_at:%Y-%m-%d %H:%M:%SZ}")
            for session_id in page.unreadable:
                typer.echo(f"{session_id}  cannot be read: `optim sessions show` says why", err=True)
            if page.next_cursor is None:
                return
            page = client.sessions.list(cursor=page.next_cursor)


@sessions.command()
def show(session_id: SessionId, url: Url = None) -> None:
    """Print the session as JSON."""
    import orjson

    with _client(url) as client:
        info = client.sessions.get(session_id).info
        typer.echo(orjson.dumps(asdict(info), option=orjson.OPT_INDENT_2))


@sessions.command()
def delete(session_id: SessionId, url: Url = None) -> None:
    """Delete the session, its state and its history."""
    with _client(url) as client:
        client.sessions.delete(session_id)


@sessions.command()
def export(
    session_id: SessionId,
    file: StateFile,
    form: Annotated[str, FormatOption] = "safetensors",
    url: Url = None,
) -> None:
    """Download the session's whole state into a file.

    In the format torch, an optimizer of PyTorch loads it, by the names of its parameters with
    optim_client.torch.by_name. In optax-npz, numpy.load reads it under optax's names.
    """
    from app import state_formats

    with _client(url) as client:
        session = client.sessions.get(session_id)
        done = "replaced" if file.exists() else "wrote"
        left_out = state_formats.export(session, file, form)
    typer.echo(f"{done} {file}: step {session.info.step:,}, {file.stat().st_size:,} bytes")
    if left_out:
        typer.echo(f"{form} has no {', '.join(left_out)}: there, the run goes on without", err=True)


@sessions.command("import")
def import_state(
    words: Annotated[
        list[str], typer.Argument(metavar="[ID] FILE", help="The session, if it is there, and the state.")
    ],
    form: Annotated[str | None, FormatOption] = None,
    step: Annotated[
        int | None, typer.Option(min=1, help="The steps that SGD or Muon of torch has taken: it does not count them.")
    ] = None,
    url: Url = None,
) -> None:
    """Create a session from a state file, or upload it.

    With an ID, the file goes into that session. Without one, a session is created from it, and its id is printed.
    Without --format, the file tells which one it has.
    """
    from app import state_formats

    *ids, file = words
    if len(ids) > 1:
        raise typer.BadParameter(f"{len(words)} arguments; expected at most one session, and one file")
    with _client(url) as client, state_formats.as_state(Path(file), form, step) as state:
        if ids:
            client.sessions.get(ids[0]).load_state(state.path, digest="none" if state.made_elsewhere else None)
        else:
            typer.echo(state_formats.create(client, state).id)


def _known_days(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text, re.ASCII) or not 1 <= int(text) <= MOST_DAYS:
        raise typer.BadParameter(f"must be a whole number from 1 to {MOST_DAYS:,}, not {text!r:.80}")
    return int(text)


def _known_role(role: str) -> str:
    if role not in Role.__members__:
        raise typer.BadParameter(f"unknown role {role!r:.80}; expected one of {', '.join(Role.__members__)}")
    return role


@store.command()
def backup(
    to: Annotated[Path, typer.Argument(metavar="TO", help="The copy: a new folder, or an empty one.")],
    store_url: StoreUrl = None,
) -> None:
    """Copy all sessions as of one moment, even while in use."""
    from app.store import lmdb_copy

    folder, map_bytes = _embedded(store_url)
    _tell(f"backed up {folder} to {to}", lmdb_copy.backup(folder, to, map_bytes))


@store.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="The copy that `backup` made.")],
    store_url: StoreUrl = None,
) -> None:
    """Restore a copy to where no store is. The copy stays as it is."""
    from app.store import lmdb_copy

    folder, map_bytes = _embedded(store_url)
    _tell(f"restored {source} to {folder}", lmdb_copy.restore(source, folder, map_bytes))


def _embedded(store_url: str | None) -> tuple[Path, int]:
    """Return the folder of the embedded store, and its largest size."""
    from app.flags import settings_of
    from app.store import open_store
    from app.store.lmdb import LmdbStore

    settings = settings_of() if store_url is None else settings_of(store=store_url)
    opened = open_store(settings)
    if not isinstance(opened, LmdbStore):
        from app.serve import shown

        raise ValueError(f"the store is {shown(settings.store)}, not lmdb:PATH; for Redis see docs/stores.md")
    return opened.file.folder, opened.file.map_bytes


def _tell(done: str, copied: "Copied") -> None:
    typer.echo(
        f"{done}: {copied.sessions:,} sessions, {copied.size:,} bytes, all read and checked against their checksums"
    )
    for session_id in copied.damaged:
        typer.echo(
            f"session {session_id} is damaged, here and in the store: only an older backup can have it whole", err=True
        )


@keys.command("create")
def create_key(
    file: KeysPath,
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Whose sessions the key sees.")] = "default",
    role: Annotated[
        str,
        typer.Option(
            metavar="|".join(Role.__members__),
            callback=_known_role,
            help="What it may do; each may do what those before it may.",
        ),
    ] = "write",
    days: Annotated[
        int | None, typer.Option(metavar="DAYS", parser=_known_days, help="It expires after so many days.")
    ] = None,
) -> None:
    """Print a new key, once: the file has only its hash."""
    from app import keys_file

    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days) if days else None
    secret, key = keys_file.create(file, tenant, role, expires_at)
    typer.echo(secret)
    typer.echo(f"{_shown(key)}. The key cannot be shown again.", err=True)


@keys.command("list")
def list_keys(file: KeysPath) -> None:
    """List the keys, one a line: id, tenant, role, expiry."""
    from app import keys_file

    for key in keys_file.read(file):
        typer.echo(_shown(key))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")], file: KeysPath
) -> None:
    """Remove the key from the file: within a second it is refused."""
    from app import keys_file

    keys_file.revoke(file, key_id)


def _shown(key: "Key") -> str:
    expires = f"{key.expires_at:%Y-%m-%d %H:%M:%SZ}" if key.expires_at else "never"
    return f"{key.id}  {key.role:5}  {key.tenant}  {'expired' if key.expired else 'expires'} {expires}"


if __name__ == "__main__":
    main()
