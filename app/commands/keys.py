"""The commands that make, list and revoke API keys."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.roles import Role

if TYPE_CHECKING:
    from app.keys_file import Key

KeysPath = Annotated[
    Path, typer.Option("--file", metavar="FILE", envvar="OPTIM_API_KEYS_FILE", help="The file of API keys.")
]
MOST_DAYS = 36_500


def _known_days(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text, re.ASCII) or not 1 <= int(text) <= MOST_DAYS:
        raise typer.BadParameter(f"must be a whole number from 1 to {MOST_DAYS:,}, not {text!r:.80}")
    return int(text)


def _known_role(role: str) -> str:
    if role not in Role.__members__:
        raise typer.BadParameter(f"unknown role {role!r:.80}; expected one of {', '.join(Role.__members__)}")
    return role


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


def list_keys(file: KeysPath) -> None:
    """List the keys, one a line: id, tenant, role, expiry."""
    from app import keys_file

    for key in keys_file.read(file):
        typer.echo(_shown(key))


def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")], file: KeysPath
) -> None:
    """Remove the key from the file: within a second it is refused."""
    from app import keys_file

    keys_file.revoke(file, key_id)


def _shown(key: "Key") -> str:
    expires = f"{key.expires_at:%Y-%m-%d %H:%M:%SZ}" if key.expires_at else "never"
    return f"{key.id}  {key.role:5}  {key.tenant}  {'expired' if key.expired else 'expires'} {expires}"
