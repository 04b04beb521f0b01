"""The command that measures a service."""

from contextlib import ExitStack
from typing import Annotated

import typer

from app.commands.options import AsJson, Url
from app.commands.output import Column, echo_json, echo_table

Seconds = Annotated[float, typer.Option(min=1, max=3600, help="The time of all measurements together.")]


def bench(seconds: Seconds = 60, url: Url = None, as_json: AsJson = False) -> None:
    """Measure a service beside the least that its steps cost.

    Without --url it starts a service on a temporary store. It makes 17 sessions, and deletes them at the end.
    """
    from app.bench.run import run
    from app.demo.server import Server

    with ExitStack() as stack:
        address = url or stack.enter_context(Server()).url
        results = run(address, seconds, lambda words: typer.echo(f"{words} …", err=True))
    if as_json:
        echo_json({"url": address, **results.document()})
        return
    columns = [Column(address), *(Column(f"{step.size:,} parameters", right=True) for step in results.steps)]
    echo_table(columns, results.step_rows())
    typer.echo()
    columns = [Column("connections"), *(Column(f"{count}", right=True) for count in results.rates)]
    echo_table(columns, results.rate_rows())
