"""The command `history`: the past steps of a session as a table, as CSV, as JSON, or as event files of TensorBoard."""

import csv
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.following import HEAD, line_of
from app.commands.options import AsJson, SessionId, Url, client, session_of
from app.commands.output import echo_json, styled

if TYPE_CHECKING:
    from optim_client import History

STANDARD_OUTPUT = Path("-")


def history(
    session_id: SessionId,
    points: Annotated[
        int | None, typer.Option(min=1, max=10_000, metavar="N", help="Thin it for a plot of N points.")
    ] = None,
    to_csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", dir_okay=False, help="Write CSV; - is standard output.")
    ] = None,
    to_tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", metavar="FOLDER", file_okay=False, help="Write event files.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Print the past steps of a session, or write them to files.

    Event files have the steps that stayed: neither skipped nor undone ones.
    """
    if as_json and to_csv == STANDARD_OUTPUT:
        raise typer.BadParameter("CSV and JSON cannot both be on standard output", param_hint="--json")
    with client(url) as service:
        found = session_of(service, session_id).history(points=points)
    if to_tensorboard is not None:
        _write_event_files(found, to_tensorboard)
    if to_csv is not None:
        _write_csv(found, to_csv)
    if as_json:
        echo_json({"history": [asdict(row) for row in found]})
    elif to_csv is None and to_tensorboard is None:
        typer.echo(styled(HEAD, bold=True))
        for row in found:
            typer.echo(line_of(row))


def _write_csv(found: "History", path: Path) -> None:
    """Write the rows as CSV, which leaves a number empty where there is none."""
    to_file = nullcontext(sys.stdout) if path == STANDARD_OUTPUT else path.open("w", encoding="utf-8", newline="")
    with to_file as file:
        writer = csv.writer(file, lineterminator="\n")
        names = list(found.arrays())
        writer.writerow(names)
        writer.writerows([_cell(getattr(row, name)) for name in names] for row in found)


def _cell(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _write_event_files(found: "History", folder: Path) -> None:
    from app.commands.event_files import write

    write(found, folder)
