"""The tables of `docs/reliability.md`, made from the results. `python -m tests.chaos.page` writes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.requirements import REQUIREMENTS
from tests.chaos.trial import RESULTS

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def load() -> list[dict[str, Any]]:
    """Return the results of the last whole run of each check, in the order of the requirements."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")]
    return sorted(found, key=lambda result: (int(result["requirements"][0][1:]), result["check"]))


def filled(text: str, results: Sequence[dict[str, Any]]) -> str:
    """Return the text with new tables between each `<!-- name -->` and `<!-- end -->`."""
    for name, table in {"requirements": requirements(results), "checks": checks(results)}.items():
        start = text.index(f"<!-- {name} -->\n") + len(f"<!-- {name} -->\n")
        text = text[:start] + markdown(table) + text[text.index("<!-- end -->", start) :]
    return text


def requirements(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = [["", "what must hold", "how it is shown"]]
    return rows + [[name, requirement.title, requirement.shown_by] for name, requirement in REQUIREMENTS.items()]


def checks(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = [["", "check", "tried and found", "measured", "seconds", "seed"]]
    for result in results:
        tried = ", ".join(f"{count:,} {what}" for what, count in result["tried"].items())
        measured = ", ".join(f"{what}: {figure}" for what, figure in result["measured"].items())
        rows.append(
            [
                ", ".join(result["requirements"]),
                result["check"],
                tried,
                measured,
                f"{result['seconds']:,.0f}",
                f"`{result['seed']}`",
            ]
        )
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the first row is its head."""
    head, *body = rows
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *body))


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), load()), encoding="utf-8")
