"""The results of whole runs, a file for each processor, and `docs/performance.md`, which shows them side by side.

Needs neither torch nor Ray.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import table
from benchmarks.machine import slug
from benchmarks.pictures import PICTURES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
RESULTS = ROOT / "benchmarks" / "results"

Results: TypeAlias = Mapping[str, Any]
"""The results of a whole run: `machine` and `measured`."""


def load() -> dict[str, Results]:
    """Return the results of the last whole run on each processor, by the processor's name."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return {results["machine"]["processor"]: results for results in found}


def save(results: Results, folder: Path = RESULTS) -> Path:
    """Write the results of a whole run into the file of their processor; return its path."""
    path = folder / f"{slug(results['machine']['processor'])}.json"
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write(runs: Mapping[str, Results]) -> None:
    """Write the page and its pictures."""
    for path, picture in pictures(runs).items():
        (IMAGES / path).parent.mkdir(exist_ok=True)
        (IMAGES / path).write_text(picture, encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), runs), encoding="utf-8")


def filled(text: str, runs: Mapping[str, Results]) -> str:
    """Return the text with the results between each `<!-- name -->` and `<!-- end -->`."""
    measured = {processor: results["measured"] for processor, results in runs.items()}
    parts = {
        "promises": markdown(table.promises(measured)) + kept(runs),
        "comparisons": markdown(table.comparisons(measured)),
        "growth": markdown(table.growth(measured)),
        "machines": markdown(machines(runs)),
        **{name: markdown(gallery(name, runs)) for name in PICTURES},
    }
    for name, part in parts.items():
        start = text.index(f"<!-- {name} -->\n") + len(f"<!-- {name} -->\n")
        text = text[:start] + part + text[text.index("<!-- end -->", start) :]
    return text


def kept(runs: Mapping[str, Results]) -> str:
    """Return a list of the processors, with the numbers of promises that were kept, missed and not measured."""
    lines = []
    for processor, results in runs.items():
        found = list(table.results(table.ROWS, results["measured"]))
        count = Counter(result.is_kept for result in found if result)
        machine = f"{results['machine']['cores']} cores, {results['machine']['memory']}"
        unknown = f", {found.count(None)} not measured" if None in found else ""
        lines.append(f"- {processor}, {machine}: {count[True]} kept, {count[False]} missed{unknown}.\n")
    return "\n" + "".join(lines)


def machines(runs: Mapping[str, Results]) -> list[list[str]]:
    """Return the table of the machines' facts; the first row is its head."""
    facts = [results["machine"] for results in runs.values()]
    names = dict.fromkeys(name for machine in facts for name in machine if name != "processor")
    return [["processor", *runs], *([name, *(machine.get(name, "") for machine in facts)] for name in names)]


def gallery(name: str, runs: Mapping[str, Results]) -> list[list[str]]:
    """Return the table with one picture for each processor; the first row is its head."""
    title = PICTURES[name].title
    return [list(runs), [f"![{title} ({processor})](images/{slug(processor)}/{name}.svg)" for processor in runs]]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the first row is its head."""
    head, *body = rows
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *body))


def pictures(runs: Mapping[str, Results]) -> dict[str, str]:
    """Return the pictures of all processors by their paths in the folder of images."""
    return {
        f"{slug(processor)}/{name}.svg": picture.draw(results["measured"])
        for processor, results in runs.items()
        for name, picture in PICTURES.items()
    }
