"""All comparisons in one run, as a table and as JSON in `benchmarks/results/`."""

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import engine, service

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    found = [*engine.comparisons(), *service.comparisons()]
    table = Table("this", "that", "this, ms", "that, ms", "ratio", title="Medians of runs in turn")
    for row in found:
        table.add_row(row.this, row.that, f"{row.this_ms:.2f}", f"{row.that_ms:.2f}", f"{row.ratio:.2f}")
    Console(width=140).print(table)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "numpy": np.__version__}
    RESULTS.mkdir(exist_ok=True)
    rows = [{**asdict(row), "ratio": row.ratio} for row in found]
    (RESULTS / "latest.json").write_text(json.dumps({"machine": machine, "comparisons": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
