"""The modules of the page as one script."""

import re
from graphlib import TopologicalSorter

import pytest

from app.routes.joined import IMPORT, joined
from app.routes.page import page_files

MODULES = {
    "main.js": "import { log } from './log.js'\nlog('main')\nawait import('./late.js')\n",
    "log.js": "const text = 'log'\nexport function log(what) {\n  said.push(text + what)\n}\nlog('once')\n",
    "late.js": "import { log } from './log.js'\nexport const late = 1\nlog('late')\n",
    "alone.js": "nobody wants this",
}


def test_a_module_is_made_a_function_of_what_it_wants() -> None:
    script = joined(MODULES, "main.js")
    assert "const { log } = log_js()\nlog('main')\nawait Promise.resolve().then(late_js)\n" in script
    assert "\nfunction log(what) {\n" in script
    assert "return { log }" in script
    assert script.endswith("main_js()\n")


def test_what_nobody_wants_is_left_out() -> None:
    assert "alone" not in joined(MODULES, "main.js")


def test_a_vendored_module_gives_its_default_alone() -> None:
    modules = {
        "a.js": "import uPlot from './vendor/uPlot.esm.js'\nuPlot()\n",
        "vendor/uPlot.esm.js": "/*\nexport function old() {}\n*/\nfunction uPlot() {}\nexport { uPlot as default };\n",
    }
    script = joined(modules, "a.js")
    assert "const { default: uPlot } = vendor_uPlot_esm_js()\nuPlot()" in script
    assert "const vendor_uPlot_esm_js = once(" in script
    assert "return { default: uPlot }" in script


@pytest.mark.parametrize(
    "line",
    [
        "import * as all from './b.js'", "import b from './b.js'", "import { a as b } from './b.js'", "import './b.js'",
        "export default 1", "export { b }", "export * from './b.js'", "export let b = 1",
    ],
)  # fmt: skip
def test_another_form_is_refused(line: str) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"app/page/a.js cannot be joined with others: it has the line {line!r}")
    ):
        joined({"a.js": f"{line}\n", "b.js": ""}, "a.js")


def test_no_modules_of_the_page_want_each_other() -> None:
    """The functions of a circle would call each other without an end."""
    graph = {
        path: {wanted for _, wanted in IMPORT.findall(file.body.decode())}
        for path, file in page_files().items()
        if path.endswith(".js")
    }
    TopologicalSorter(graph).prepare()
