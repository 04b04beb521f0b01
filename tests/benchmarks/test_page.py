"""The page says what the results say."""

import copy
import platform
from typing import Any

import pytest

from benchmarks import page, table


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return page.load()


def test_the_tables_of_the_page_are_those_of_the_results(results: dict[str, Any]) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, results) == text


def test_other_results_make_another_page(results: dict[str, Any]) -> None:
    other = copy.deepcopy(results)
    for group, competitor in (("step", "torch RPC"), ("step", "Ray actor")):
        other["measured"][group]["10000000"][competitor]["median"] *= 2
    other["machine"]["python"] = "4.0"
    text = page.PAGE.read_text(encoding="utf-8")
    changed = page.filled(text, other)
    for before, after in zip(text.splitlines(), changed.splitlines(), strict=True):
        assert (before != after) == any(name in before for name in ("torch RPC |", "| python |", "`torch RPC` |"))


def test_the_pictures_are_those_of_the_results(results: dict[str, Any]) -> None:
    for name, picture in page.pictures(results["measured"]).items():
        assert (page.IMAGES / name).read_text(encoding="utf-8") == picture, name
        assert f"(images/{name})" in page.PAGE.read_text(encoding="utf-8")


def test_every_row_was_measured(results: dict[str, Any]) -> None:
    rows = table.ROWS + table.BESIDE
    missing = [row.work for row, found in zip(rows, table.results(rows, results["measured"]), strict=True) if not found]
    assert missing == []


def test_the_machine_has_no_name_and_no_path(results: dict[str, Any]) -> None:
    said = " ".join(results["machine"].values())
    assert "/" not in said
    assert platform.node() not in said.split()
