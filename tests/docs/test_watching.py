"""`docs/watching.md`: every curve, mark and key of the page is in it."""

import re

import pytest

from tests.docs.blocks import read


@pytest.mark.parametrize(
    ("file", "pattern", "least"),
    [
        ("metrics.js", r"title: '([^']+)'", 8),
        ("marks.js", r"(?:undo|settings|skipped|left): '([^'-]+)'", 4),
        ("help.js", r"^  \['([^']+)'", 6),
    ],
    ids=["curves", "marks", "keys"],
)
def test_the_document_has_all_that_the_page_has(file: str, pattern: str, least: int) -> None:
    found = re.findall(pattern, read(f"app/page/{file}"), re.MULTILINE)
    assert len(found) >= least
    rows = [
        line.split("|")[1].replace("`", "").strip() for line in read("docs/watching.md").splitlines() if "|" in line
    ]
    assert [name for name in found if name not in rows] == []
