"""The commands that back up and restore a whole store, without a service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.exits import Exit
from app.commands.options import AsJson, StoreUrl, settings_for
from app.commands.output import echo_json

if TYPE_CHECKING:
    from app.backup.manifest import Manifest
    from app.settings import Settings


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup: a new folder, or an empty one.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Back nothing up: read a backup that was made, and check every byte.")
    ] = False,
    store_url: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Back up all sessions of the store, even while services use it.

    The backup restores into a store of any kind. Exit status 5 if sessions are damaged; their ids are printed.
    """
    import asyncio

    from app.backup import backing_up, verification
    from app.store import source_of

    if verify:
        _tell(f"verified {folder}", verification.verify(folder), as_json=as_json)
        return

    async def run() -> "Manifest":
        async with source_of(settings) as source:
            return await backing_up.back_up(source, folder)

    settings = settings_for(store_url)
    manifest = asyncio.run(run())
    _tell(f"backed up {_shown(settings)} to {folder}", manifest, as_json=as_json)


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup that `optim backup` made.")],
    store_url: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty store. The backup stays as it is, and nothing is overwritten.

    After an interruption, run it again: it goes on.
    """
    import asyncio

    from app.backup import restoring
    from app.store import target_of

    settings = settings_for(store_url)
    restored = asyncio.run(restoring.restore(folder, target_of(settings)))
    counts = {"sessions": restored.sessions, "expired": restored.expired, "claims_left_out": restored.claims_left_out}
    if not as_json and restored.expired:
        typer.echo(f"{restored.expired:,} sessions have expired since the backup, and were left out", err=True)
    if not as_json and restored.claims_left_out:
        typer.echo(f"{restored.claims_left_out:,} keys of creations were left out: {LEFT_OUT}", err=True)
    _tell(f"restored {folder} to {_shown(settings)}", restored.manifest, as_json=as_json, counts=counts)


LEFT_OUT = "their tenants have no session, so the backup of an embedded store does not know their names"


def _shown(settings: "Settings") -> str:
    from app.serve import shown

    return shown(settings.store)


def _tell(done: str, manifest: "Manifest", *, as_json: bool, counts: dict[str, int] | None = None) -> None:
    """Print what was done, and name the sessions that are not whole."""
    if as_json:
        echo_json(_document(manifest, counts or {"sessions": manifest.sessions}))
    else:
        sessions = counts["sessions"] if counts else manifest.sessions
        typer.echo(f"{done}: {sessions:,} sessions, {manifest.bytes:,} bytes, all read and checked")
        for flaw in manifest.damaged:
            typer.echo(f"session {flaw.session_id} is damaged in the store, and so in the backup: {flaw.why}", err=True)
        for flaw in manifest.missed:
            typer.echo(f"session {flaw.session_id} is not in the backup: {flaw.why}", err=True)
    if manifest.damaged or manifest.missed:
        raise typer.Exit(Exit.FINDINGS)


def _document(manifest: "Manifest", counts: dict[str, int]) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(manifest), "bytes": manifest.bytes, **counts}
