"""The screen with which `optim serve` starts on a terminal."""

import os
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from app.logs import BRIGHT, DIM, RESET
from app.settings import Settings


def is_wanted(settings: Settings) -> bool:
    """Return whether a person reads what is logged, and wants to be told of more than warnings."""
    is_for_people = settings.log_format == "console" and settings.log_level in {"debug", "info"}
    return is_for_people and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def show(facts: Mapping[str, object], durability: str, keys: str) -> None:
    """Show the screen; `facts` are those of the log line that it stands for."""
    bright, dim, end = ("", "", "") if os.environ.get("NO_COLOR") else (BRIGHT, DIM, RESET)
    lines = [f"{bright}Optim Service {version('optim-service')}{end}", ""]
    lines += [f"  {dim}{name:<10}{end} {value}" for name, value in rows(facts, durability, keys)]
    print(*lines, "", "Ctrl-C stops it; steps under way are finished first.", "", sep="\n", file=sys.stderr, flush=True)


def rows(facts: Mapping[str, object], durability: str, keys: str) -> Iterator[tuple[str, object]]:
    """Yield the names and the values of the screen. A row without a name goes on with the one above it."""
    address = str(facts["url"])
    yield "Address", address
    if "unix_socket" in facts:
        yield "", f"unix://{facts['unix_socket']}"
    if address.startswith("http"):
        yield "Page", f"{address}/"
        yield "Reference", f"{address}/docs"
    yield "Store", facts["store"]
    yield "", durability
    yield "Kernel", f"{facts['kernel']}, {facts['threads']} threads"
    yield "Processes", facts["workers"]
    if "traces" in facts:
        yield "Traces", facts["traces"]
    yield "API keys", keys
