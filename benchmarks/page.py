"""The tables and pictures of `docs/performance.md`, made from the results. Needs neither torch nor Ray."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.plots import Chart, Line, draw
from benchmarks.table import ONE, TWO, Measured

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
RESULTS = ROOT / "benchmarks" / "results" / "bench.json"

LOOKS = {
    "service, memory:": "c0",
    "service, LMDB relaxed": "c1",
    "service, LMDB": "c2",
    "service, Redis": "c3",
    "torch RPC": "c4 peer",
    "Ray actor": "c5 peer",
    "floor, memory": "c6 floor",
    "floor, Redis": "c7 floor",
}
IN_PROCESS_LOOKS = {
    "engine": "c0",
    "engine fused": "c1",
    "torch fused": "c4 peer",
    "torch foreach": "c5 peer",
    "torch single-tensor": "c6 peer",
}
JSON_LOOKS = {
    "service, Redis": "c3",
    "plain FastAPI": "c4 peer",
    "plain FastAPI, answers untyped": "c5 peer",
}


def load() -> dict[str, Any]:
    """Return the results of the last whole run."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results


def write(results: Mapping[str, Any]) -> None:
    """Write the page and its pictures."""
    for name, picture in pictures(results["measured"]).items():
        (IMAGES / name).write_text(picture, encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


def filled(text: str, results: Mapping[str, Any]) -> str:
    """Return the text with new tables between each `<!-- name -->` and `<!-- end -->`."""
    measured = results["measured"]
    parts = {
        "promises": table.promises(measured),
        "comparisons": table.comparisons(measured),
        "growth": table.growth(measured),
        "machine": [["what", "which"], *([name, value] for name, value in results["machine"].items())],
    }
    for name, rows in parts.items():
        start = text.index(f"<!-- {name} -->\n") + len(f"<!-- {name} -->\n")
        note = f"\n{meaning(results)}\n" if name == "promises" else ""
        text = text[:start] + markdown(rows) + note + text[text.index("<!-- end -->", start) :]
    return text


def meaning(results: Mapping[str, Any]) -> str:
    """Return the line that says on which machine the promises were measured, and what a "no" means."""
    machine, (_, *rows) = results["machine"], table.promises(results["measured"])
    missed = sum("**no**" in row for row in rows)
    return (
        f"This machine: {machine['processor']}, {machine['cores']} cores, {machine['memory']}. **no** ({missed} of "
        f"{len(rows)} here) means a ratio above its bound on this machine; the bound stays, as the goal."
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the first row is its head."""
    head, *body = rows
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *body))


def pictures(measured: Measured) -> dict[str, str]:
    """Return the pictures by file name."""
    step = measured["step"]
    return {
        "step.svg": draw(
            Chart(
                "One step, by the number of parameters",
                "gradients to another process, new parameters back; medians",
                "ms",
                _lines(step, LOOKS),
            )
        ),
        "step-per-parameter.svg": draw(
            Chart(
                "The same for each parameter: where a line is flat, cost grows linearly",
                "nanoseconds of a step, divided by its parameters",
                "ns",
                _lines(step, LOOKS, lambda size, ms: 1e6 * ms / size),
            )
        ),
        "step-json.svg": draw(
            Chart(
                "One step as JSON lists",
                "parameters and gradients there, new parameters back, moments on Redis; medians",
                "ms",
                _lines(measured["json"], JSON_LOOKS),
            )
        ),
        **{
            f"step-in-process-{threads}.svg": draw(
                Chart(
                    f"The arithmetic alone, {'one thread' if threads == 1 else 'two threads'}",
                    "AdamW in process, nanoseconds for each parameter; medians",
                    "ns",
                    _lines(measured[group], IN_PROCESS_LOOKS, lambda size, ms: 1e6 * ms / size),
                )
            )
            for threads, group in ((1, ONE), (2, TWO))
        },
    }


def _lines(
    sizes: Mapping[str, Mapping[str, Mapping[str, float]]],
    looks: Mapping[str, str],
    cost: Callable[[int, float], float] = lambda _, ms: ms,
) -> list[Line]:
    found = []
    for name, look in looks.items():
        points = [(int(n), cost(int(n), at[name]["median"])) for n, at in sizes.items() if name in at]
        if points:
            found.append(Line(name, look, points))
    return found
