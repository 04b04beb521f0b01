"""The command that examines a store, a machine and a running service."""

from typing import TYPE_CHECKING

import typer

from app.commands.exits import Exit
from app.commands.options import AsJson, StoreUrl, Url, settings_for
from app.commands.output import echo_json, plain, styled

if TYPE_CHECKING:
    from app.doctor.finding import Finding

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
LEVEL_WIDTH, CHECK_WIDTH = 9, 13


def doctor(store_url: StoreUrl = None, url: Url = None, as_json: AsJson = False) -> None:
    """Examine store, machine and service, and say what to do.

    Exit status 5 if something is wrong, 4 if the store, or a service that was named, does not answer.
    """
    from app.doctor.examination import findings
    from app.serve import shown

    settings = settings_for(store_url)
    found = []
    for finding in findings(settings, shown(settings.store), url):
        found.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        echo_json({"findings": [finding.document() for finding in found]})
    if any(finding.is_away for finding in found):
        raise typer.Exit(Exit.UNREACHABLE)
    if any(finding.way_out for finding in found):
        raise typer.Exit(Exit.FINDINGS)


def _show(finding: "Finding") -> None:
    level = styled(f"{finding.level:<{LEVEL_WIDTH}}", fg=COLOURS[finding.level])
    typer.echo(f"{level}{finding.check:<{CHECK_WIDTH}}{plain(finding.found)}")
    if finding.way_out:
        typer.echo(" " * (LEVEL_WIDTH + CHECK_WIDTH) + styled(plain(finding.way_out), bold=True))
