"""The benchmarks' page and pictures, which must match the results."""

import copy
import re
from typing import Any

import pytest

from benchmarks import page, table


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return page.load()


def test_the_page_shows_the_tables_of_the_results(results: dict[str, Any]) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, results) == text


def test_a_table_is_filled_and_the_rest_stays(results: dict[str, Any]) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    empty = re.sub(r"(<!-- (?!end)\w+ -->\n).*?(?=<!-- end -->)", r"\1", text, flags=re.DOTALL)
    assert len(empty) < len(text)
    assert page.filled(empty, results) == text


def test_other_results_change_the_page(results: dict[str, Any]) -> None:
    other = copy.deepcopy(results)
    other["measured"]["step"]["10000000"]["Ray actor"]["median"] *= 2
    other["machine"]["python"] = "4.0"
    text = page.PAGE.read_text(encoding="utf-8")
    lines = zip(text.splitlines(), page.filled(text, other).splitlines(), strict=True)
    changed = [after for before, after in lines if before != after]
    assert [line.split(" | ")[0] for line in changed] == ["| `Ray actor`", "| Ray actor, 10 M", "| python"]
    assert page.pictures(other["measured"])["step.svg"] != page.pictures(results["measured"])["step.svg"]


def test_the_pictures_show_the_results(results: dict[str, Any]) -> None:
    for name, picture in page.pictures(results["measured"]).items():
        assert (page.IMAGES / name).read_text(encoding="utf-8") == picture, name
        assert f"(images/{name})" in page.PAGE.read_text(encoding="utf-8")


def test_every_row_was_measured(results: dict[str, Any]) -> None:
    rows = table.ROWS + table.BESIDE
    missing = [row.work for row, found in zip(rows, table.results(rows, results["measured"]), strict=True) if not found]
    assert missing == []
