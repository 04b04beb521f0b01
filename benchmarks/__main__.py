"""The command of `make bench`, which runs all comparisons. A whole run writes the processor's results, the page and its
pictures; a partial one (`--only`, `--sizes`, `--quick`) only prints.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import page, table
from benchmarks.comparisons import GROUPS, ROUNDS, THREADS
from benchmarks.machine import facts

QUICK = 5


def main() -> None:
    wanted = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end, too
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # the servers inherit it
    machine = facts()
    measured = _measure(wanted.only, wanted.sizes, QUICK if wanted.quick else 1)
    console = Console(width=160)
    for title, rows in (("Promises", table.promises), ("Beside them", table.comparisons), ("Growth", table.growth)):
        console.print(_table(title, rows({machine["processor"]: measured})))
    if wanted == _arguments([]):
        page.save({"machine": machine, "measured": measured})
        page.write(page.load())


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP", help=", ".join(GROUPS)
    )
    parser.add_argument("--sizes", nargs="+", type=int, choices=ROUNDS, default=list(ROUNDS), metavar="PARAMETERS")
    parser.add_argument("--quick", action="store_true", help=f"a {QUICK}th of the rounds")
    return parser.parse_args(given)


def _measure(groups: Sequence[str], sizes: Sequence[int], hurry: int) -> dict[str, dict[str, dict[str, Any]]]:
    measured: dict[str, dict[str, dict[str, Any]]] = {}
    for group in groups:
        measured[group] = {}
        for size, spreads in GROUPS[group](sizes, hurry):
            medians = ", ".join(f"{name} {table.shown(spread.median)}" for name, spread in spreads.items())
            print(f"{group}, {size:,}: {medians}", flush=True)
            measured[group][str(size)] = {name: asdict(spread) for name, spread in spreads.items()}
    return measured


def _table(title: str, rows: list[list[str]]) -> Table:
    """Return a table of the rows that were measured, by their last cell."""
    made = Table(*rows[0], title=title)
    for row in rows[1:]:
        if row[-1] != table.NOT_MEASURED:
            made.add_row(*(cell.replace("*", "").replace("`", "") for cell in row))
    return made


if __name__ == "__main__":
    main()
