"""The pages of the clients: a row for each client, and a Python reference that is as its docstrings."""

import re

from docs.clients import make_python
from tests.docs.blocks import ROOT, read, rows


def test_every_client_has_a_row_with_its_reference() -> None:
    table = {row[0]: row[1] for row in rows(read("docs/clients/README.md"))}
    named = {re.findall(r"\(../../clients/(\w+)/README.md\)", client)[0]: page for client, page in table.items()}
    assert named.keys() == {folder.parent.name for folder in (ROOT / "clients").glob("*/README.md")}
    assert named == {name: f"[{name}.md]({name}.md)" for name in named}


def test_the_python_reference_is_current() -> None:
    assert make_python.page() == make_python.PAGE.read_text("utf-8"), "run `python docs/clients/make_python.py`"
