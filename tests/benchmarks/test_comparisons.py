"""The groups of competitors, read without torch and Ray, held against the results and the rows of the table."""

import ast
from typing import Any

import pytest

from benchmarks import page, table

SOURCE = (page.ROOT / "benchmarks" / "comparisons.py").read_text(encoding="utf-8")
ASSIGNED: dict[str, Any] = {
    target.id: node.value
    for node in ast.parse(SOURCE).body
    if isinstance(node, ast.Assign)
    for target in node.targets
    if isinstance(target, ast.Name)
}
GROUPS: dict[str, ast.expr] = {
    ast.literal_eval(name): group
    for name, group in zip(ASSIGNED["GROUPS"].keys, ASSIGNED["GROUPS"].values, strict=True)
}


def competitors(group: ast.expr) -> list[str]:
    """Return the names in the table of a group; none if a function makes them."""
    named = [ASSIGNED[node.id] for node in ast.walk(group) if isinstance(node, ast.Name) and node.id in ASSIGNED]
    tables = [node for part in (group, *named) for node in ast.walk(part) if isinstance(node, ast.Dict)]
    return [ast.literal_eval(name) for made in tables for name in made.keys if name is not None]


@pytest.fixture(scope="module", params=page.load().values(), ids=page.load())
def measured(request: pytest.FixtureRequest) -> Any:
    return request.param["measured"]


def test_the_results_have_no_group_that_is_gone(measured: Any) -> None:
    assert set(measured) <= set(GROUPS)


@pytest.mark.parametrize("name", [name for name, group in GROUPS.items() if competitors(group)])
def test_the_results_have_no_competitor_that_is_gone(measured: Any, name: str) -> None:
    for found in measured.get(name, {}).values():
        assert set(found) <= set(competitors(GROUPS[name]))


def test_a_size_has_at_most_its_rounds(measured: Any) -> None:
    rounds = ast.literal_eval(ASSIGNED["ROUNDS"])
    for group, sizes in measured.items():
        for size, spreads in sizes.items():
            if group != "peak-memory":
                assert {spread["rounds"] for spread in spreads.values()} <= set(range(1, rounds[int(size)] + 1))


def test_a_row_compares_competitors_of_a_group() -> None:
    for row in table.ROWS + table.BESIDE:
        names = competitors(GROUPS[row.group])
        assert not names or {row.this, row.that, row.plus or row.that} <= set(names), row
