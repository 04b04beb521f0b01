"""The commands that download a session's state into a file, and upload one."""

from pathlib import Path
from typing import Annotated

import typer

from app.commands.options import SessionId, Url, client, session_of

StateFile = Annotated[Path, typer.Argument(metavar="FILE", help="The state.")]


def _known_format(name: str | None) -> str | None:
    from app.state_formats import NAMES

    if name not in (None, *NAMES):
        raise typer.BadParameter(f"unknown format {name!r:.80}; expected one of {', '.join(NAMES)}")
    return name


FormatOption = typer.Option(
    "--format", callback=_known_format, metavar="FORMAT", help="safetensors, torch, or optax-npz."
)


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

    with client(url) as service:
        session = session_of(service, session_id)
        done = "replaced" if file.exists() else "wrote"
        left_out = state_formats.export(session, file, form)
    typer.echo(f"{done} {file}: step {session.info.step:,}, {file.stat().st_size:,} bytes")
    if left_out:
        typer.echo(f"{form} has no {', '.join(left_out)}: there, the run goes on without", err=True)


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
    with client(url) as service, state_formats.as_state(Path(file), form, step) as state:
        if ids:
            session_of(service, ids[0]).load_state(state.path, digest="none" if state.made_elsewhere else None)
        else:
            typer.echo(state_formats.create(service, state).id)
