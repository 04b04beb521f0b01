"""The commands that back up and restore the embedded store, without a service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.store.lmdb_copy import Copied

StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The store, lmdb:PATH. Where it is not given: OPTIM_STORE.")
]


def backup(
    to: Annotated[Path, typer.Argument(metavar="TO", help="The copy: a new folder, or an empty one.")],
    store_url: StoreUrl = None,
) -> None:
    """Copy all sessions as of one moment, even while in use."""
    from app.store import lmdb_copy

    folder, map_bytes = _embedded(store_url)
    _tell(f"backed up {folder} to {to}", lmdb_copy.backup(folder, to, map_bytes))


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
