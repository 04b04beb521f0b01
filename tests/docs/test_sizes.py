"""The sizes of files, classes and functions, and the length of test names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import FOLDERS, ROOT, name_of

FILE, CLASS, FUNCTION = 350, 150, 40
"""The most lines of each."""
WORDS = 10
"""The most words of a test's name after `test_`."""


def excesses(source: str) -> Iterator[str]:
    """Yield what is too large in a module, with its size."""
    if (lines := source.count("\n")) > FILE:
        yield f"{lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > (CLASS if isinstance(node, ast.ClassDef) else FUNCTION):
                yield f"{node.name} has {lines} lines"
            words = node.name.removeprefix("test_").split("_")
            if node.name.startswith("test_") and len(words) > WORDS:
                yield f"{node.name} has {len(words)} words"


def test_no_file_class_or_function_is_too_large() -> None:
    found = [f"{name_of(path)}: {text}" for path in sources() for text in excesses(path.read_text(encoding="utf-8"))]
    if found:
        pytest.fail("split these, or name them shorter:\n" + "\n".join(found), pytrace=False)


def sources() -> list[Path]:
    """Return every module of the repository."""
    return [path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]


def test_what_is_too_large_is_found() -> None:
    function = "def test_a_b_c_d_e_f_g_h_i_j_k():\n" + "    x = 1\n" * FUNCTION
    method = "    def f(self):\n" + "        x = 1\n" * (FUNCTION - 1)
    found = ["test_a_b_c_d_e_f_g_h_i_j_k has 41 lines", "test_a_b_c_d_e_f_g_h_i_j_k has 11 words"]
    assert list(excesses(function)) == found
    assert list(excesses("class C:\n" + method * 4)) == ["C has 161 lines"]
    assert list(excesses("x = 1\n" * (FILE + 1))) == ["351 lines"]
