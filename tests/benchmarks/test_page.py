"""The benchmarks' results, and the page and pictures that must match them."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page, table
from benchmarks.machine import slug


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    return page.load()


def test_the_page_shows_the_results(runs: dict[str, Any]) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, runs) == text


def test_a_part_is_filled_and_the_rest_stays(runs: dict[str, Any]) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    empty = re.sub(r"(<!-- (?!end)[\w-]+ -->\n).*?(?=<!-- end -->)", r"\1", text, flags=re.DOTALL)
    assert len(empty) < len(text)
    assert page.filled(empty, runs) == text


def test_a_second_processor_gets_columns_and_pictures(runs: dict[str, Any]) -> None:
    (first, results), *_ = runs.items()
    other = copy.deepcopy(results)
    other["machine"] |= {"processor": "Other 9", "cores": "7"}
    other["measured"]["step"]["10000000"]["Ray actor"]["median"] *= 2
    text = page.filled(page.PAGE.read_text(encoding="utf-8"), {first: results, "Other 9": other})
    assert f"| processor | {first} | Other 9 |" in text
    assert f"| cores | {results['machine']['cores']} | 7 |" in text
    assert f"| work | against | {first} | Other 9 |" in text
    assert "](images/other-9/step.svg) |" in text
    assert "\n- Other 9, 7 cores, " in text
    pictures = page.pictures({first: results, "Other 9": other})
    assert pictures["other-9/step.svg"] != pictures[f"{slug(first)}/step.svg"]


def test_results_are_saved_under_their_processor(runs: dict[str, Any], tmp_path: Path) -> None:
    for results in runs.values():
        path = page.save(results, tmp_path)
        assert path.read_bytes() == (page.RESULTS / path.name).read_bytes()
    assert len(list(tmp_path.iterdir())) == len(runs) == len(list(page.RESULTS.iterdir()))


def test_the_pictures_show_the_results(runs: dict[str, Any]) -> None:
    pictures = page.pictures(runs)
    for path, picture in pictures.items():
        assert (page.IMAGES / path).read_text(encoding="utf-8") == picture, path
        assert f"(images/{path})" in page.PAGE.read_text(encoding="utf-8")
    written = {path.relative_to(page.IMAGES).as_posix() for path in page.IMAGES.glob("*/*.svg")}
    assert written == pictures.keys()


def test_each_processors_promises_are_counted(runs: dict[str, Any]) -> None:
    lines = page.kept(runs).strip().splitlines()
    assert len(lines) == len(runs)
    for line in lines:
        assert sum(int(number) for number in re.findall(r"(\d+) (?:kept|missed|not)", line)) == len(table.ROWS)
