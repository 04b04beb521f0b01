"""The first words of docstrings: a verb for a function, a noun for a module or a class, never a question."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import FOLDERS, ROOT, name_of

QUESTION = re.compile(r"(What|Whether|Where|Who|Which|How|Of|As|So|That|Those|It|There)\b")
"""The words that open no docstring, of a module, a class, a function or a value."""


def openings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and the first line of each docstring."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text.partition("\n")[0]


def offenders(path: Path) -> list[str]:
    """Return the docstrings of a file that open with one of the words, as file:line: text."""
    found = openings(path.read_text(encoding="utf-8"))
    return [f"{name_of(path)}:{line}: {text}" for line, text in found if QUESTION.match(text)]


def test_no_docstring_opens_with_a_question() -> None:
    sources = [path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]
    assert len(sources) > 200
    found = [line for path in sources for line in offenders(path)]
    if found:
        pytest.fail("begin these docstrings with a verb or a noun:\n" + "\n".join(found), pytrace=False)


def test_openings_are_those_of_every_docstring() -> None:
    source = '"""Module."""\nX = 1\n"""What X is."""\n\nclass C:\n    """Class."""\n    def f(self): """Where?"""\n'
    assert sorted(openings(source)) == [(1, "Module."), (3, "What X is."), (6, "Class."), (7, "Where?")]
