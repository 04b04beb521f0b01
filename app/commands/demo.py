"""The command `demo`."""

import typer

from app.commands.options import Url


def demo(url: Url = None) -> None:
    """Watch a network learn.

    Its optimizer is a service that the demo starts, kills in a step and starts again; with --url one that runs already.
    """
    from app.demo.run import demo as run_demo

    raise typer.Exit(run_demo(url))
