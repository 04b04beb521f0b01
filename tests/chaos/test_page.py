"""The tables of docs/reliability.md, which must match the results."""

import copy

import pytest

from tests.chaos import page
from tests.chaos.requirements import REQUIREMENTS


@pytest.fixture
def text() -> str:
    return page.PAGE.read_text(encoding="utf-8")


def test_the_page_shows_the_tables_of_the_results(text: str) -> None:
    assert page.filled(text, page.load()) == text


def test_another_result_changes_the_page(text: str) -> None:
    results = copy.deepcopy(page.load())
    results.append(
        {"requirements": ["R1"], "check": "x", "seed": 1, "seconds": 2, "tried": {"kills": 3}, "measured": {}}
    )
    assert page.filled(text, results) != text


def test_each_requirement_was_tried() -> None:
    tried = {name for result in page.load() for name in result["requirements"]}
    assert tried == set(REQUIREMENTS)
